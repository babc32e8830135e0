import type { FormEvent, ReactElement, ReactNode } from 'react'
import { Dialog, DialogFoot } from '../../ui/dialog.tsx'
import { formValue, TextField } from '../../ui/fields.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'

/** Says what will happen, asks why, and does it. */
export function ReasonDialog(props: {
  readonly title: string
  /** What the button says, and what it says meanwhile. */
  readonly verb: readonly [string, string]
  /** Who reads the reason. */
  readonly hint: string
  readonly act: (reason: string) => Promise<unknown>
  readonly onDone: () => void
  readonly onClose: () => void
  readonly children: ReactNode
}): ReactElement {
  const { title, verb, hint, act, onDone, onClose, children } = props
  const { busy, error, run } = useAction()
  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const reason = formValue(new FormData(event.currentTarget), 'reason').trim()
    run(async () => {
      await act(reason)
      onDone()
    }, event.currentTarget)
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        <div className="dialog-body">
          <p>{children}</p>
          <TextField label="Reason" name="reason" required maxLength={500} autoComplete="off" hint={hint} />
          {error !== undefined && <Problem error={error} />}
        </div>
        <DialogFoot>
          <button type="submit" className="button button-danger" disabled={busy}>
            {verb[busy ? 1 : 0]}
          </button>
        </DialogFoot>
      </form>
    </Dialog>
  )
}
