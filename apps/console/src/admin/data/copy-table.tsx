import type { ReactElement } from 'react'
import type { DataCopy } from '#core/api/data.ts'
import { protectionSentences } from '#core/data/index.ts'
import { usePerson } from '../../person-context.ts'
import { type DataRow, DataTable } from '../../ui/data-table.tsx'
import { clock, copyStateNames, modeNames, sentence, size, zoneKindNames } from '../../words.ts'
import { type Order, type SortColumn, sortColumns } from './order-copies.ts'

/** Copies of data, a row each. */
export function CopyTable(props: {
  readonly copies: readonly DataCopy[]
  readonly order: Order
  readonly onOrder: (by: SortColumn) => void
  readonly onTimeline: (copy: DataCopy) => void
  readonly onWithdraw: (copy: DataCopy) => void
  readonly onRemove: (copy: DataCopy) => void
}): ReactElement {
  const { me } = usePerson()
  return (
    <DataTable
      label="Copies of data"
      sort={{ columns: sortColumns, ...props.order, onSort: (by) => props.onOrder(by) }}
      rows={props.copies.map((copy) => ({
        key: copy.id,
        cells: cellsOf(copy),
        off: copy.state === 'kept',
        actions: (
          <span className="row-actions">
            <button
              type="button"
              className="button button-small"
              aria-label={`Time line of ${nameOf(copy)}`}
              onClick={() => props.onTimeline(copy)}
            >
              Time line
            </button>
            {me.admin && canWithdraw(copy) && (
              <button
                type="button"
                className="button button-small"
                aria-label={`Withdraw ${nameOf(copy)}`}
                onClick={() => props.onWithdraw(copy)}
              >
                Withdraw
              </button>
            )}
            {me.admin && copy.replica !== undefined && (
              <button
                type="button"
                className="button button-small"
                aria-label={`Remove ${nameOf(copy)}`}
                onClick={() => props.onRemove(copy)}
              >
                Remove
              </button>
            )}
          </span>
        ),
      }))}
    />
  )
}

/** What a row is called in labels of its buttons: `Laboratory of Nora Lind on laptop-7`. */
export function nameOf({ workspace, person, machine }: DataCopy): string {
  return `${workspace.name} of ${person.name} on ${machine.name}`
}

function canWithdraw({ leaseId, state }: DataCopy): boolean {
  return leaseId !== undefined && (state === 'held' || state === 'offered')
}

function cellsOf(copy: DataCopy): DataRow['cells'] {
  const { workspace, person, machine, mode, image, state, since, until, notice } = copy
  const [first, ...others] = protectionSentences(copy, clock)
  return {
    'Workspace, person': (
      <TwoLines
        first={`${workspace.name}${deleted(workspace)}`}
        second={`${person.name}, ${person.login}${deleted(person)}`}
      />
    ),
    Where: (
      <TwoLines
        first={
          <span className="machine">
            <span className={machine.online ? 'dot dot-on' : 'dot'} aria-hidden="true" />
            {machine.name}
            {!machine.online && <span className="muted small">, away</span>}
          </span>
        }
        second={<SeenFrom copy={copy} />}
      />
    ),
    Delivered: (
      <TwoLines
        first={modeNames[mode]}
        second={
          image && (
            <span className="mono">
              {image.name}:{image.version}
            </span>
          )
        }
      />
    ),
    State: (
      <TwoLines
        first={<span className={`state ${stateClass(state)}`}>{copyStateNames[state]}</span>}
        second={
          <>
            <span className="nowrap">since {clock(since)}</span>
            {until !== undefined && (
              <>
                , <span className="nowrap">until {clock(until)}</span>
              </>
            )}
          </>
        }
      />
    ),
    'Protected by': (
      <div className="protection">
        <span>{first}</span>
        {others.map((one) => (
          <span key={one} className="muted">
            {one}
          </span>
        ))}
        {notice !== undefined && <span className="muted">Why: {sentence(notice.reason)}</span>}
      </div>
    ),
    'On the device': <Amount copy={copy} />,
  }
}

function Amount({ copy: { stats, replica } }: { readonly copy: DataCopy }): ReactElement {
  if (replica !== undefined)
    return (
      <TwoLines
        first={<span className="nowrap">{size(replica.sizeBytes)} stored</span>}
        second={<span className="nowrap">as of {clock(replica.copiedAt)}</span>}
      />
    )
  if (stats === undefined) return <span className="muted">–</span>
  return (
    <TwoLines
      first={<span className="nowrap">{size(stats.bytesWritten)} written</span>}
      second={<span className="nowrap">{Math.round(stats.percentLocal)} % of the image</span>}
    />
  )
}

function SeenFrom({ copy: { machine, zone, replica } }: { readonly copy: DataCopy }): ReactElement {
  if (replica !== undefined) return <span>from {replica.endpoint.name}</span>
  const { name, kind, why } = zone
  const words =
    name === kind ? zoneKindNames[kind].toLowerCase() : `${name}, ${zoneKindNames[kind].toLowerCase()}`
  return (
    <span className={kind === 'hostile' ? 'zone-hostile' : ''} title={why}>
      {machine.kind === 'host' ? `seen from ${words}` : words}
    </span>
  )
}

function stateClass(state: DataCopy['state']): string {
  if (state === 'held' || state === 'in-use') return 'state-ok'
  if (state === 'withdrawn' || state === 'paused' || state === 'ending') return 'state-bad'
  return state === 'kept' ? 'state-warn' : ''
}

function TwoLines(props: {
  readonly first: React.ReactNode
  readonly second: React.ReactNode
}): ReactElement {
  return (
    <span className="two-lines">
      <span>{props.first}</span>
      {props.second !== undefined && <span className="muted small">{props.second}</span>}
    </span>
  )
}

/** What is left of one that an admin has deleted is shown until it is gone. */
function deleted(one: { readonly deleted?: true | undefined }): string {
  return one.deleted === true ? ' (deleted)' : ''
}
