import { type ReactElement, useId, useState } from 'react'
import type { DecisionRecord } from '#core/api/admin.ts'
import { adminApi } from '../api/api.ts'
import { DecisionDetails } from '../ui/decision-details.tsx'
import { TextField } from '../ui/fields.tsx'
import { Icon } from '../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'
import { causeNames, modeNames, restrictionName } from '../words.ts'
import { PageHead } from './page-head.tsx'

const pageSize = 50

/** Every decision with its reasons, newest first, as the audit log holds it. */
export function DecisionsPage(): ReactElement {
  const first = useResource(() => adminApi.decisions(pageSize))
  const [older, setOlder] = useState<readonly DecisionRecord[]>([])
  const [complete, setComplete] = useState(false)
  const [wanted, setWanted] = useState('')
  const more = useAction()

  const newest = first.data?.decisions
  if (newest === undefined) {
    return (
      <>
        <Head />
        {first.error === undefined ? (
          <Waiting label="Loading decisions" />
        ) : (
          <Problem error={first.error} retry={first.reload} />
        )}
      </>
    )
  }
  const all = [...newest, ...older]
  const shown = all.filter((record) => matches(record, wanted))
  const last = all.at(-1)
  const hasOlder = newest.length >= pageSize && !complete

  const loadOlder = () =>
    more.run(async () => {
      const { decisions } = await adminApi.decisions(pageSize, last?.id)
      setOlder([...older, ...decisions])
      setComplete(decisions.length < pageSize)
    })

  if (all.length === 0) {
    return (
      <>
        <Head />
        <Empty title="No decision has been taken yet">
          Each launch is decided by the policy. Its reasons appear here, and in the audit log before anything
          is delivered.
        </Empty>
      </>
    )
  }
  return (
    <>
      <Head />
      <search className="filter">
        <TextField
          label="Filter by person or workspace"
          type="search"
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
        />
        <span className="muted" role="status">
          {shown.length} of {hasOlder && 'the latest '}
          {all.length}
        </span>
      </search>
      {shown.length === 0 && (
        <p className="muted">
          No decision {hasOlder ? `among the latest ${all.length}` : 'here'} is about “{wanted}”.
        </p>
      )}
      <ul className="decisions">
        {shown.map((record) => (
          <DecisionRow key={record.id} record={record} />
        ))}
      </ul>
      {more.error !== undefined && <Problem error={more.error} />}
      {hasOlder && (
        <button type="button" className="button" disabled={more.busy} onClick={loadOlder}>
          {more.busy ? 'Loading…' : 'Older decisions'}
        </button>
      )}
    </>
  )
}

function Head(): ReactElement {
  return (
    <PageHead title="Decisions">
      Who was given what, why, and what would have unlocked more. Each is in the audit log before it took
      effect.
    </PageHead>
  )
}

function DecisionRow({ record }: { readonly record: DecisionRecord }): ReactElement {
  const [open, setOpen] = useState(false)
  const id = useId()
  const { outcome } = record.decision
  const at = new Date(record.at)
  return (
    <li className="decision">
      <button
        type="button"
        className="decision-head"
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        <span className={outcome === undefined ? 'state state-bad' : 'state state-ok'}>
          {outcome === undefined ? 'Refused' : modeNames[outcome.mode]}
        </span>
        <span className="decision-who">
          <strong>{record.person.name}</strong> <span className="muted">{record.workspaceId}</span>
        </span>
        <span className="decision-what muted">
          {outcome === undefined
            ? (record.decision.refused[0]?.reason ?? '')
            : outcome.restrictions.map(restrictionName).join(', ') || 'Nothing withheld'}
        </span>
        <time className="muted" dateTime={record.at} title={at.toISOString()}>
          {at.toLocaleString([], { dateStyle: 'short', timeStyle: 'medium' })}
        </time>
        <Icon name="chevron" />
      </button>
      <div id={id} className="decision-body" hidden={!open}>
        <DecisionDetails decision={record.decision} heading="h2" />
        <dl className="facts">
          <Fact name="Cause" value={causeNames[record.cause]} />
          <Fact name="Zone" value={record.zone} />
          <Fact name="Person" value={record.person.login} />
          <Fact name="Audit log entry" value={record.auditIndex} mono />
          <Fact name="Policy" value={record.decision.policyDigest} mono />
          <Fact name="Context" value={record.decision.contextDigest} mono />
        </dl>
      </div>
    </li>
  )
}

function Fact(props: {
  readonly name: string
  readonly value: string
  readonly mono?: boolean
}): ReactElement {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd className={props.mono === true ? 'mono' : ''} title={props.value}>
        {props.value}
      </dd>
    </div>
  )
}

function matches({ person, workspaceId }: DecisionRecord, wanted: string): boolean {
  const text = `${person.name} ${person.login} ${workspaceId}`.toLowerCase()
  return text.includes(wanted.trim().toLowerCase())
}
