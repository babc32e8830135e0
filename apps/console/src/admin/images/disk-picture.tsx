import { type ReactElement, useId } from 'react'
import type { ImageComparison, ImageView } from '#core/api/releases.ts'
import { percent, size } from '../../words.ts'
import { type CellKind, cellRuns, describeDisk } from './disk-map.ts'

const columns = 64
/** Side of a cell's square and of its place, in the picture's own units. */
const [side, pitch] = [8, 10]

/** A disk in small squares, row by row from its beginning to its end, beside the version before it. */
export function DiskPicture({
  image,
  comparison,
}: {
  readonly image: ImageView
  readonly comparison: ImageComparison
}): ReactElement {
  const id = useId()
  const { against, sizeBytes, cells } = comparison
  const rows = Math.ceil(cells.length / columns)
  return (
    <figure className="disk" aria-labelledby={`${id}-title`}>
      <figcaption>
        <h3 id={`${id}-title`}>Changed since {against}</h3>
        <p className="muted small">
          The disk from its beginning to its end, in {cells.length} parts of{' '}
          {size(Math.ceil(sizeBytes / cells.length))}. As said by {image.importedBy}, who registered the
          image: only who has its key can compare.
        </p>
      </figcaption>
      <svg
        className="disk-map"
        viewBox={`-1 -1 ${columns * pitch} ${rows * pitch}`}
        role="img"
        aria-label={describeDisk(image.version, comparison)}
      >
        {cellRuns(cells).map(({ kind, start, length }) => (
          <path key={start} className={`cell-${kind}`} d={squares(start, length)} />
        ))}
      </svg>
      <Legend comparison={comparison} />
    </figure>
  )
}

function Legend({ comparison }: { readonly comparison: ImageComparison }): ReactElement {
  const { against, sizeBytes, sameBytes, changedBytes, clearedBytes, changedStoredBytes } = comparison
  return (
    <ul className="disk-legend">
      <Entry kind="same" name={`As in ${against}`} amount={size(sameBytes)}>
        {percent(sameBytes, sizeBytes)}, empty parts among it
      </Entry>
      <Entry kind="changed" name="Changed" amount={size(changedBytes)}>
        {percent(changedBytes, sizeBytes)}, {size(changedStoredBytes)} to fetch
      </Entry>
      <Entry kind="cleared" name="Cleared" amount={size(clearedBytes)}>
        {percent(clearedBytes, sizeBytes)}, nothing to fetch
      </Entry>
      <Entry kind="empty" name="Empty" amount="" />
    </ul>
  )
}

function Entry(props: {
  readonly kind: CellKind
  readonly name: string
  readonly amount: string
  readonly children?: React.ReactNode
}): ReactElement {
  return (
    <li>
      <svg className="disk-key" viewBox="-1 -1 10 10" aria-hidden="true">
        <path className={`cell-${props.kind}`} d={squares(0, 1)} />
      </svg>
      <span>
        {props.name} <strong>{props.amount}</strong>
        <span className="muted small">{props.children}</span>
      </span>
    </li>
  )
}

function squares(start: number, length: number): string {
  return Array.from({ length }, (_, at) => {
    const [x, y] = [((start + at) % columns) * pitch, Math.floor((start + at) / columns) * pitch]
    return `M${x} ${y}h${side}v${side}h-${side}z`
  }).join('')
}
