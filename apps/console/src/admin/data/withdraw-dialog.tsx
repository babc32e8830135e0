import type { ReactElement } from 'react'
import type { DataCopy } from '#core/api/data.ts'
import { dataApi } from '../../api/data-api.ts'
import { overlaySentences } from '../../words.ts'
import { nameOf } from './copy-table.tsx'
import { ReasonDialog } from './reason-dialog.tsx'

/** Asks why, and takes back what an endpoint holds. */
export function WithdrawDialog(props: {
  readonly copy: DataCopy
  readonly onDone: () => void
  readonly onClose: () => void
}): ReactElement {
  const { copy, onDone, onClose } = props
  const { protection, machine, person, leaseId = '' } = copy
  const overlay = protection.includes('overlay-replicated')
    ? 'replicate'
    : protection.includes('overlay-kept')
      ? 'keep'
      : 'discard'
  return (
    <ReasonDialog
      title={`Withdraw ${nameOf(copy)}?`}
      verb={['Withdraw', 'Withdrawing…']}
      hint={`${person.name} is told, and the audit log keeps it.`}
      act={(reason) => dataApi.withdraw(leaseId, reason)}
      onDone={onDone}
      onClose={onClose}
    >
      The key is taken back at once and the session ends; nothing can be read there any more.{' '}
      {overlaySentences[overlay]} If {machine.name} is away, it stops by its own clock when its lease is over.
    </ReasonDialog>
  )
}
