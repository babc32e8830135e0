import type { FormEvent, ReactElement } from 'react'
import type { DataCopy } from '#core/api/data.ts'
import { dataApi } from '../../api/data-api.ts'
import { Dialog } from '../../ui/dialog.tsx'
import { formValue, TextField } from '../../ui/fields.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { nameOf } from './copy-table.tsx'

/** Asks why, and removes a replica from the data centre. */
export function RemoveDialog(props: {
  readonly copy: DataCopy
  readonly onDone: () => void
  readonly onClose: () => void
}): ReactElement {
  const { copy, onDone, onClose } = props
  const { busy, error, run } = useAction()
  function remove(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const reason = formValue(new FormData(event.currentTarget), 'reason').trim()
    run(async () => {
      await dataApi.removeReplica(copy.id, reason)
      onDone()
    })
  }
  return (
    <Dialog title={`Remove ${nameOf(copy)}?`} onClose={onClose}>
      <form onSubmit={remove}>
        <div className="dialog-body">
          <p>
            What {copy.person.name} wrote is gone from the data centre at once and cannot be brought back from
            there. What is on an endpoint stays on it, and is sent again when it is opened the next time and
            the policy still asks for that.
          </p>
          <TextField
            label="Reason"
            name="reason"
            required
            maxLength={500}
            autoComplete="off"
            hint="The audit log keeps it."
          />
          {error !== undefined && <Problem error={error} />}
        </div>
        <footer className="dialog-foot">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="button button-danger" disabled={busy}>
            {busy ? 'Removing…' : 'Remove'}
          </button>
        </footer>
      </form>
    </Dialog>
  )
}
