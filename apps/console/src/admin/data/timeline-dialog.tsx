import { type ReactElement, useState } from 'react'
import type { DataCopy, TimelineAnswer, TimelineEntry, TimelineTopic } from '#core/api/data.ts'
import { sentenceOf } from '#core/audit/sentence-of.ts'
import { dataApi } from '../../api/data-api.ts'
import { Dialog } from '../../ui/dialog.tsx'
import { Problem, Waiting } from '../../ui/message.tsx'
import { saveFile } from '../../ui/save-file.ts'
import { useAction } from '../../ui/use-action.ts'
import { useResource } from '../../ui/use-resource.ts'
import { sentence } from '../../words.ts'

/** What a time line can be of. */
export interface About {
  readonly topic: TimelineTopic
  readonly id: string
  readonly name: string
}

/** What the audit log tells of one thing or another. */
export function TimelineDialog({
  choices,
  network,
  onClose,
}: {
  /** The first is shown until another is chosen. */
  readonly choices: readonly About[]
  /** What was made of the network, and why. */
  readonly network?: string | undefined
  readonly onClose: () => void
}): ReactElement {
  const [topic, setTopic] = useState(choices[0]?.topic)
  const chosen = choices.find((one) => one.topic === topic)
  return (
    <Dialog title={choices.length > 1 ? 'Time line' : `Time line of ${chosen?.name}`} onClose={onClose} wide>
      <div className="dialog-body">
        {choices.length > 1 && <Choices choices={choices} topic={topic} onTopic={setTopic} />}
        {network !== undefined && <p className="muted small">{network}</p>}
        {chosen !== undefined && <Timeline key={chosen.topic} about={chosen} />}
      </div>
    </Dialog>
  )
}

function Choices(props: {
  readonly choices: readonly About[]
  readonly topic: TimelineTopic | undefined
  readonly onTopic: (topic: TimelineTopic) => void
}): ReactElement {
  return (
    <fieldset className="segments">
      <legend className="visually-hidden">Of what</legend>
      {props.choices.map(({ topic, name }) => (
        <label key={topic} className="segment">
          <input
            type="radio"
            name="about"
            className="visually-hidden"
            checked={topic === props.topic}
            onChange={() => props.onTopic(topic)}
          />
          {name}
        </label>
      ))}
    </fieldset>
  )
}

/** A copy of data, and what it belongs to. */
export function CopyTimeline(props: { readonly copy: DataCopy; readonly onClose: () => void }): ReactElement {
  const { zone, machine } = props.copy
  const network = zone.why && `${machine.kind === 'host' ? 'Seen from' : 'Network'}: ${sentence(zone.why)}`
  return <TimelineDialog choices={choicesOf(props.copy)} network={network} onClose={props.onClose} />
}

/** A button to the time line of one thing. */
export function TimelineButton({ about }: { readonly about: About }): ReactElement {
  const [open, setOpen] = useState(false)
  return (
    <>
      <button
        type="button"
        className="button button-small"
        aria-label={`Time line of ${about.name}`}
        onClick={() => setOpen(true)}
      >
        Time line
      </button>
      {open && <TimelineDialog choices={[about]} onClose={() => setOpen(false)} />}
    </>
  )
}

function choicesOf({ sessionId, leaseId, workspace, person, machine, replica }: DataCopy): readonly About[] {
  return [
    leaseId === undefined
      ? { topic: 'session', id: sessionId, name: 'This session' }
      : { topic: 'lease', id: leaseId, name: 'This lease' },
    ...(leaseId === undefined ? [] : [{ topic: 'session' as const, id: sessionId, name: 'Its session' }]),
    { topic: 'workspace', id: workspace.id, name: workspace.name },
    { topic: 'person', id: person.id, name: person.name },
    machine.kind === 'site'
      ? {
          topic: 'endpoint',
          id: replica?.endpoint.id ?? machine.id,
          name: replica?.endpoint.name ?? machine.name,
        }
      : { topic: machine.kind, id: machine.id, name: machine.name },
  ]
}

function Timeline({ about }: { readonly about: About }): ReactElement {
  const first = useResource(() => dataApi.timeline(about.topic, about.id))
  const [older, setOlder] = useState<readonly TimelineAnswer[]>([])
  const more = useAction()
  if (first.data === undefined) {
    return first.error === undefined ? (
      <Waiting label="Reading the audit log" />
    ) : (
      <Problem error={first.error} retry={first.reload} />
    )
  }
  const pages = [first.data, ...older]
  const next = pages.at(-1)?.next
  const readOlder = () =>
    more.run(async () => setOlder([...older, await dataApi.timeline(about.topic, about.id, next)]))
  if (first.data.entries.length === 0) return <p className="muted">The audit log tells nothing of it.</p>
  return (
    <>
      <ol className="timeline" aria-label={`Time line of ${about.name}`}>
        {pages.flatMap(({ entries, names }) =>
          entries.map((entry) => <Entry key={entry.index} entry={entry} names={names} />),
        )}
      </ol>
      {more.error !== undefined && <Problem error={more.error} />}
      {next !== undefined && (
        <button type="button" className="button" disabled={more.busy} onClick={readOlder}>
          {more.busy ? 'Loading…' : 'Older entries'}
        </button>
      )}
    </>
  )
}

function Entry(props: {
  readonly entry: TimelineEntry
  readonly names: TimelineAnswer['names']
}): ReactElement {
  const { index, at, ...told } = props.entry
  const { busy, error, run } = useAction()
  const time = new Date(at)
  const download = () =>
    run(async () => saveFile(`audit-${index}.tlog-proof`, 'text/plain', await dataApi.proof(index)))
  return (
    <li className="timeline-entry">
      <time className="muted small" dateTime={at} title={time.toISOString()}>
        {time.toLocaleString([], { dateStyle: 'short', timeStyle: 'medium' })}
      </time>
      <div className="timeline-what">
        <p>{sentenceOf(told, props.names)}</p>
        <div className="timeline-foot">
          <details>
            <summary>
              Entry {index}, <span className="mono">{told.kind}</span>
            </summary>
            <pre className="command">{JSON.stringify({ at, ...told }, undefined, 2)}</pre>
          </details>
          <button
            type="button"
            className="button button-small button-quiet"
            disabled={busy}
            aria-label={`Download the proof of entry ${index}`}
            onClick={download}
          >
            Proof
          </button>
        </div>
        {error !== undefined && <Problem error={error} />}
      </div>
    </li>
  )
}
