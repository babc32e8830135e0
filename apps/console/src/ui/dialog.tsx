import {
  createContext,
  type KeyboardEvent,
  type ReactElement,
  type ReactNode,
  type RefObject,
  useContext,
  useEffect,
  useEffectEvent,
  useId,
  useRef,
  useState,
} from 'react'
import { onBack } from './back.ts'
import { Icon } from './icons.tsx'

/** Closes the dialog that this is in, as Escape does. */
const leaving = createContext<() => void>(() => undefined)

/**
 * A modal dialog: the browser keeps the focus inside, Escape and Back close, the focus returns to where it was. Where its form was changed it
 * asks before it closes, and so does the tab, unless what is in it is worth nothing afterwards.
 */
export function Dialog(props: {
  readonly title: string
  readonly onClose: () => void
  readonly children: ReactNode
  readonly wide?: boolean
  /** A question or a search: there is nothing to lose. */
  readonly isTransient?: boolean
}): ReactElement {
  const dialog = useRef<HTMLDialogElement>(null)
  const titleId = useId()
  const [asking, setAsking] = useState(false)
  const { touch, isChanged } = useChanges(dialog, props.isTransient === true)
  useEffect(() => {
    const before = document.activeElement
    dialog.current?.showModal()
    // What a page gave the focus while the dialog was not open could not take it.
    dialog.current?.querySelector<HTMLElement>('[data-autofocus]')?.focus()
    return () => {
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  function leave(): void {
    if (isChanged()) setAsking(true)
    else dialog.current?.close()
  }
  const goBack = useEffectEvent(leave)
  useEffect(() => onBack(() => goBack()), [])
  function onKeyDown(event: KeyboardEvent): void {
    if (event.key !== 'Escape' || event.defaultPrevented || event.nativeEvent.isComposing) return
    // Browsers close for the second Escape in a row without asking the page.
    event.preventDefault()
    event.stopPropagation()
    leave()
  }
  return (
    <leaving.Provider value={leave}>
      <dialog
        ref={dialog}
        className={props.wide === true ? 'dialog dialog-wide' : 'dialog'}
        aria-labelledby={titleId}
        onClose={(event) => {
          // React lets it bubble, from a question that this dialog asks, too.
          if (event.target === dialog.current) props.onClose()
        }}
        onCancel={(event) => {
          event.preventDefault()
          if (event.target === dialog.current) leave()
        }}
        onKeyDown={onKeyDown}
        onKeyDownCapture={touch}
        onPointerDownCapture={touch}
        onFocusCapture={touch}
      >
        <header className="dialog-head">
          <h2 id={titleId}>{props.title}</h2>
          <button type="button" className="button-icon" aria-label="Close" onClick={leave}>
            <Icon name="close" />
          </button>
        </header>
        {props.children}
        {asking && (
          <Confirm
            title="Discard what you have changed?"
            action="Discard"
            cancel="Keep editing"
            onConfirm={props.onClose}
            onClose={() => setAsking(false)}
          >
            <p>It was not saved.</p>
          </Confirm>
        )}
      </dialog>
    </leaving.Provider>
  )
}

/** Tell of each open dialog whether its form was changed. */
const openForms = new Set<() => boolean>()

/** Whether something would be lost with the dialogs that are open. */
export function holdsUnsavedForm(): boolean {
  return [...openForms].some((isChanged) => isChanged())
}

/** Whether the form of a dialog holds anything else than when it was first touched. */
function useChanges(
  dialog: RefObject<HTMLDialogElement | null>,
  isTransient: boolean,
): {
  readonly touch: () => void
  readonly isChanged: () => boolean
} {
  const began = useRef<{ readonly form: HTMLFormElement; readonly content: string }>(undefined)
  const formOf = () => (isTransient ? undefined : (dialog.current?.querySelector('form') ?? undefined))
  function isChanged(): boolean {
    const form = formOf()
    return form !== undefined && form === began.current?.form && contentOf(form) !== began.current.content
  }
  const isChangedNow = useEffectEvent(isChanged)
  useEffect(() => {
    const tell = (): boolean => isChangedNow()
    const ask = (event: BeforeUnloadEvent): void => {
      if (tell()) event.preventDefault()
    }
    openForms.add(tell)
    window.addEventListener('beforeunload', ask)
    return () => {
      openForms.delete(tell)
      window.removeEventListener('beforeunload', ask)
    }
  }, [])
  return {
    touch() {
      const form = formOf()
      if (form !== undefined && form !== began.current?.form)
        began.current = { form, content: contentOf(form) }
    },
    isChanged,
  }
}

function contentOf(form: HTMLFormElement): string {
  return JSON.stringify([...new FormData(form)])
}

/** The way out, and beside it what the dialog is for. */
export function DialogFoot(props: {
  readonly children: ReactNode
  readonly cancel?: string
  /** Has the focus first. */
  readonly isCancelFirst?: boolean
  /** Stands apart from both, at the other end. */
  readonly apart?: ReactNode
}): ReactElement {
  const leave = useContext(leaving)
  return (
    <footer className="dialog-foot">
      {props.apart !== undefined && <div className="grow">{props.apart}</div>}
      <button type="button" className="button" onClick={leave} data-autofocus={props.isCancelFirst}>
        {props.cancel ?? 'Cancel'}
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
  readonly cancel?: string
  readonly onConfirm: () => void
  readonly onClose: () => void
}): ReactElement {
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <div className="dialog-body">{props.children}</div>
      <DialogFoot cancel={props.cancel ?? 'Cancel'} isCancelFirst>
        <button type="button" className="button button-danger" onClick={props.onConfirm}>
          {props.action}
        </button>
      </DialogFoot>
    </Dialog>
  )
}
