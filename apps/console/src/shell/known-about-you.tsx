import type { ReactElement } from 'react'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { sentence, span, worthOf, zoneSentences } from '../words.ts'

/** Every claim that decisions are made from, with where it comes from: nothing about a person is hidden from them. */
export function KnownAboutYou({ onClose }: { readonly onClose: () => void }): ReactElement {
  const { me } = usePerson()
  return (
    <Dialog title="What this site knows about you" onClose={onClose} wide>
      <div className="dialog-body">
        <p>
          The site sees you at <span className="mono">{me.network.address}</span>:{' '}
          {zoneSentences[me.network.kind]} (zone <strong>{me.network.zone}</strong>).{' '}
          {me.network.reason !== undefined && `${sentence(me.network.reason)} `}Decisions about your
          workspaces are made from the facts below and from your groups
          {me.groups.length > 0 && ` (${me.groups.join(', ')})`}. What a device says about itself can lower
          trust, never raise it.
        </p>
        <DataTable
          label="Facts"
          rows={me.claims.map(({ name, label, value, source, ageSec }) => ({
            key: name,
            cells: {
              Fact: label,
              Value: <span className={value === 'unknown' ? 'muted' : ''}>{value}</span>,
              'How it is known': worthOf(source),
              Age: (
                <span className="muted nowrap">{ageSec < 60 ? 'now' : span(Math.floor(ageSec / 60))}</span>
              ),
            },
          }))}
        />
        {me.claims.length === 0 && (
          <p className="muted">
            Nothing is known about this computer. A browser alone proves little about it.
          </p>
        )}
      </div>
    </Dialog>
  )
}
