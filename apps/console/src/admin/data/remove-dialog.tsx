import type { ReactElement } from 'react'
import type { DataCopy } from '#core/api/data.ts'
import { dataApi } from '../../api/data-api.ts'
import { nameOf } from './copy-table.tsx'
import { ReasonDialog } from './reason-dialog.tsx'

/** Asks why, and removes a replica from the data centre. */
export function RemoveDialog(props: {
  readonly copy: DataCopy
  readonly onDone: () => void
  readonly onClose: () => void
}): ReactElement {
  const { copy, onDone, onClose } = props
  return (
    <ReasonDialog
      title={`Remove ${nameOf(copy)}?`}
      verb={['Remove', 'Removing…']}
      hint="The audit log keeps it."
      act={(reason) => dataApi.removeReplica(copy.id, reason)}
      onDone={onDone}
      onClose={onClose}
    >
      What {copy.person.name} wrote is gone from the data centre at once and cannot be brought back from
      there. What is on an endpoint stays on it, and is sent again when it is opened the next time and the
      policy still asks for that.
    </ReasonDialog>
  )
}
