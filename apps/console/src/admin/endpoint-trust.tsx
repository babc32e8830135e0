import { type ReactElement, useState } from 'react'
import type { EndpointView } from '#core/api/lease.ts'
import { endpointsApi } from '../api/endpoints-api.ts'
import { evidenceApi } from '../api/evidence-api.ts'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'
import { ago, span } from '../words.ts'

type Machine = Pick<EndpointView, 'id' | 'name' | 'reports' | 'forked'>

/** Whether an endpoint is heard of, and the way to all that is known of it. */
export function EndpointTrust(props: {
  readonly machine: Machine
  readonly now: number
  readonly onChange: () => void
}): ReactElement {
  const { machine } = props
  const [open, setOpen] = useState(false)
  const { forked, reports } = machine
  const state = forked ? 'Seen twice' : reports ? 'Reports' : 'Silent'
  return (
    <>
      <button
        type="button"
        className="button button-small"
        aria-label={`What is known of ${machine.name}: ${state}`}
        onClick={() => setOpen(true)}
      >
        <span className={`state state-${forked ? 'bad' : reports ? 'ok' : 'warn'}`}>{state}</span>
      </button>
      {open && <Known {...props} onClose={() => setOpen(false)} />}
    </>
  )
}

function Known({
  machine,
  now,
  onChange,
  onClose,
}: {
  readonly machine: Machine
  readonly now: number
  readonly onChange: () => void
  readonly onClose: () => void
}): ReactElement {
  const { id, name, forked } = machine
  const { data, error, reload } = useResource(() => endpointsApi.claims(id))
  const changes = data?.changes ?? []
  return (
    <Dialog title={`What is known of ${name}`} onClose={onClose} wide>
      <div className="dialog-body">
        {forked && <Forked machine={machine} onChange={onChange} />}
        {data === undefined && error === undefined && <Waiting label={`Loading what is known of ${name}`} />}
        {data === undefined && error !== undefined && <Problem error={error} retry={reload} />}
        {data !== undefined && (
          <DataTable
            label="Claims"
            rows={data.claims.map(({ name: key, label, value, ageSec, worth, detail, selfReported }) => ({
              key,
              cells: {
                Fact: label,
                Value: <span className={value === 'unknown' ? 'muted' : ''}>{value}</span>,
                'What it is worth': worth,
                'What was seen': detail ?? (selfReported === undefined ? '' : `it says ${selfReported}`),
                Age: (
                  <span className="muted nowrap">{ageSec < 60 ? 'now' : span(Math.floor(ageSec / 60))}</span>
                ),
              },
            }))}
          />
        )}
        {changes.length > 0 && <h3>Latest changes</h3>}
        <ul>
          {changes.slice(0, 10).map(({ at, changes: each }) => (
            <li key={at}>
              <span className="muted">{ago(at, now)}:</span>{' '}
              {each.map(({ claim, from, to }) => `${claim} ${from} → ${to}`).join(', ')}
            </li>
          ))}
        </ul>
      </div>
    </Dialog>
  )
}

function Forked(props: { readonly machine: Machine; readonly onChange: () => void }): ReactElement {
  const { me } = usePerson()
  const { busy, error, run } = useAction()
  const forgive = () =>
    run(async () => {
      await evidenceApi.forgiveFork(props.machine.id)
      props.onChange()
    })
  return (
    <div>
      <p>
        Another machine has the key of this one, or it was put back to an older state. Its evidence is not
        taken. If it was copied, withdraw it and enrol each copy; if it was put back from a backup, let it
        begin anew.
      </p>
      {error !== undefined && <Problem error={error} />}
      {me.admin && (
        <button type="button" className="button" disabled={busy} onClick={forgive}>
          Let it begin anew
        </button>
      )}
    </div>
  )
}
