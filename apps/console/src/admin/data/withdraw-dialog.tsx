import type { FormEvent, ReactElement } from 'react'
import type { DataCopy } from '#core/api/data.ts'
import { dataApi } from '../../api/data-api.ts'
import { Dialog } from '../../ui/dialog.tsx'
import { formValue, TextField } from '../../ui/fields.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { overlaySentences } from '../../words.ts'
import { nameOf } from './copy-table.tsx'

/** Asks why, and takes back what an endpoint holds. */
export function WithdrawDialog(props: {
  readonly copy: DataCopy
  readonly onDone: () => void
  readonly onClose: () => void
}): ReactElement {
  const { copy, onDone, onClose } = props
  const { busy, error, run } = useAction()
  function withdraw(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const reason = formValue(new FormData(event.currentTarget), 'reason').trim()
    run(async () => {
      await dataApi.withdraw(copy.leaseId ?? '', reason)
      onDone()
    })
  }
  const overlay = copy.protection.includes('overlay-replicated')
    ? 'replicate'
    : copy.protection.includes('overlay-kept')
      ? 'keep'
      : 'discard'
  return (
    <Dialog title={`Withdraw ${nameOf(copy)}?`} onClose={onClose}>
      <form onSubmit={withdraw}>
        <div className="dialog-body">
          <p>
            The key is taken back at once and the session ends; nothing can be read there any more.{' '}
            {overlaySentences[overlay]} If {copy.machine.name} is away, it stops by its own clock when its
            lease is over.
          </p>
          <TextField
            label="Reason"
            name="reason"
            required
            maxLength={500}
            autoComplete="off"
            hint={`${copy.person.name} is told, and the audit log keeps it.`}
          />
          {error !== undefined && <Problem error={error} />}
        </div>
        <footer className="dialog-foot">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="button button-danger" disabled={busy}>
            {busy ? 'Withdrawing…' : 'Withdraw'}
          </button>
        </footer>
      </form>
    </Dialog>
  )
}
