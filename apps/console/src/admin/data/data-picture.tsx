import type { ReactElement } from 'react'
import { copyStates, type DataCopy, type DataSummary } from '#core/api/data.ts'
import type { Area } from '#core/data/index.ts'
import { Icon } from '../../ui/icons.tsx'
import { zoneKindNames } from '../../words.ts'

const zones = ['inside', 'outside', 'hostile', 'unknown'] as const
/** More are counted, not drawn. */
const mostMarks = 60
const marksPerRow = 10
/** Side of a mark and of its place, in the picture's own units. */
const [side, pitch] = [10, 15]

/** Where data is, as a picture: the data centre, and endpoints by the network they are seen on. A part that is pressed filters the table. */
export function DataPicture(props: {
  readonly summary: DataSummary
  readonly area: Area | undefined
  readonly onChoose: (area: Area | undefined) => void
}): ReactElement {
  const { summary, area, onChoose } = props
  const part = (one: Area, name: string, note: string) => (
    <PicturePart
      key={one}
      area={one}
      name={name}
      note={note}
      states={summary.byArea[one] ?? {}}
      isChosen={area === one}
      onChoose={() => onChoose(area === one ? undefined : one)}
    />
  )
  return (
    <section className="where" aria-label="Picture of where data is">
      <div className="where-side">
        <h2>In the data centre</h2>
        {part('datacenter', 'Hosts and replicas', 'Only pictures and ciphertext leave')}
      </div>
      <div className="where-side">
        <h2>On endpoints</h2>
        <div className="where-zones">
          {zones
            .filter((zone) => zone !== 'unknown' || summary.byArea['unknown'] !== undefined)
            .map((zone) => part(zone, zoneKindNames[zone], zoneNotes[zone]))}
        </div>
      </div>
      <Legend />
    </section>
  )
}

const zoneNotes: Readonly<Record<(typeof zones)[number], string>> = {
  inside: 'Networks of your organisation',
  outside: 'Other networks',
  hostile: 'Networks that are not trusted',
  unknown: 'Seen from nowhere now',
}

/** How many copies are in each state. */
type States = Readonly<Record<string, number>>

function PicturePart(props: {
  readonly area: Area
  readonly name: string
  readonly note: string
  readonly states: States
  readonly isChosen: boolean
  readonly onChoose: () => void
}): ReactElement {
  const { area, name, note, states, isChosen, onChoose } = props
  const count = Object.values(states).reduce((sum, one) => sum + one, 0)
  const kept = states['kept'] ?? 0
  return (
    <button type="button" className={`where-part where-${area}`} aria-pressed={isChosen} onClick={onChoose}>
      <span className="where-name">
        {area === 'datacenter' ? <Icon name="place" /> : area === 'hostile' && <Icon name="warning" />}
        {name}
      </span>
      <span className="where-count">
        <strong>{count.toLocaleString()}</strong>{' '}
        <span className="muted small">{count === 1 ? 'copy' : 'copies'}</span>
      </span>
      <Marks states={states} count={count} />
      <span className="muted small">
        {kept === 0
          ? note
          : kept === count
            ? 'Unreadable there'
            : `${kept.toLocaleString()} unreadable there`}
      </span>
    </button>
  )
}

type MarkKind = 'live' | 'waiting' | 'taken' | 'kept'

const markKinds: Readonly<Record<DataCopy['state'], MarkKind>> = {
  starting: 'waiting',
  'in-use': 'live',
  disconnected: 'waiting',
  ending: 'taken',
  offered: 'waiting',
  held: 'live',
  withdrawn: 'taken',
  paused: 'taken',
  kept: 'kept',
  replicated: 'kept',
}

/** One mark a copy. Its shape says how it is, so that colour is not needed for that. */
function Marks({ states, count }: { readonly states: States; readonly count: number }): ReactElement | null {
  if (count === 0) return null
  const drawn = copyStates
    .flatMap((state) => Array<MarkKind>(Math.min(states[state] ?? 0, mostMarks)).fill(markKinds[state]))
    .slice(0, mostMarks)
  const rows = Math.ceil(drawn.length / marksPerRow)
  const [width, height] = [marksPerRow * pitch, rows * pitch]
  return (
    <span className="where-marks">
      <svg width={width} height={height} viewBox={`-2 -2 ${width} ${height}`} aria-hidden="true">
        {drawn.map((kind, at) => (
          <Mark key={`${at} ${kind}`} kind={kind} at={at} />
        ))}
      </svg>
      {count > mostMarks && (
        <span className="muted small">and {(count - mostMarks).toLocaleString()} more</span>
      )}
    </span>
  )
}

function Mark({ kind, at }: { readonly kind: MarkKind; readonly at: number }): ReactElement {
  const [x, y] = [(at % marksPerRow) * pitch, Math.floor(at / marksPerRow) * pitch]
  const box = `M${x} ${y}h${side}v${side}h-${side}z`
  const inside = {
    live: '',
    waiting: '',
    taken: `M${x} ${y}l${side} ${side}M${x + side} ${y}l-${side} ${side}`,
    kept: `M${x + 3} ${y + 5}h4`,
  }[kind]
  return <path className={`mark-${kind}`} d={box + inside} />
}

const legend: readonly (readonly [MarkKind, string])[] = [
  ['live', 'In use'],
  ['waiting', 'Starting or disconnected'],
  ['taken', 'Taken back, not confirmed yet or paused in memory'],
  ['kept', 'Left behind or a replica, unreadable without a lease'],
]

function Legend(): ReactElement {
  return (
    <ul className="where-legend" aria-label="What the marks mean">
      {legend.map(([kind, name]) => (
        <li key={kind}>
          <svg width={14} height={14} viewBox="-2 -2 14 14" aria-hidden="true">
            <Mark kind={kind} at={0} />
          </svg>
          {name}
        </li>
      ))}
    </ul>
  )
}
