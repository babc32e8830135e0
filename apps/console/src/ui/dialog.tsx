import { type ReactElement, type ReactNode, useEffect, useId, useRef } from 'react'
import { Icon } from './icons.tsx'

/** A modal dialog: the browser keeps the focus inside, Escape closes, the focus returns to where it was. */
export function Dialog(props: {
  readonly title: string
  readonly onClose: () => void
  readonly children: ReactNode
  readonly wide?: boolean
}): ReactElement {
  const dialog = useRef<HTMLDialogElement>(null)
  const titleId = useId()
  useEffect(() => {
    const before = document.activeElement
    dialog.current?.showModal()
    // What a page gave the focus while the dialog was not open could not take it.
    dialog.current?.querySelector<HTMLElement>('[data-autofocus]')?.focus()
    return () => {
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={dialog}
      className={props.wide === true ? 'dialog dialog-wide' : 'dialog'}
      aria-labelledby={titleId}
      onClose={props.onClose}
    >
      <header className="dialog-head">
        <h2 id={titleId}>{props.title}</h2>
        <button
          type="button"
          className="button-icon"
          aria-label="Close"
          onClick={() => dialog.current?.close()}
        >
          <Icon name="close" />
        </button>
      </header>
      {props.children}
    </dialog>
  )
}

/** The way out, and beside it what the dialog is for. */
export function DialogFoot(props: {
  readonly onClose: () => void
  readonly children: ReactNode
}): ReactElement {
  return (
    <footer className="dialog-foot">
      <button type="button" className="button" onClick={props.onClose}>
        Cancel
      </button>
      {props.children}
    </footer>
  )
}

/** Asks before something that cannot be undone. */
export function Confirm(props: {
  readonly title: string
  readonly children: ReactNode
  readonly action: string
  readonly onConfirm: () => void
  readonly onClose: () => void
}): ReactElement {
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <div className="dialog-body">{props.children}</div>
      <DialogFoot onClose={props.onClose}>
        <button type="button" className="button button-danger" onClick={props.onConfirm}>
          {props.action}
        </button>
      </DialogFoot>
    </Dialog>
  )
}
