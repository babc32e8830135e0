import type { ImageComparison } from '#core/api/releases.ts'
import { percent, size } from '../../words.ts'

/** What happened to a part of the disk. */
export type CellKind = 'same' | 'changed' | 'cleared' | 'empty'

const kinds: Readonly<Record<string, CellKind>> = { s: 'same', c: 'changed', z: 'cleared', '.': 'empty' }

export interface CellRun {
  readonly kind: CellKind
  readonly start: number
  readonly length: number
}

/** Neighbours of one kind, in order. */
export function cellRuns(cells: string): readonly CellRun[] {
  return [...cells.matchAll(/(.)\1*/g)].map(({ 0: run, index }) => ({
    kind: kinds[run.charAt(0)] ?? 'empty',
    start: index,
    length: run.length,
  }))
}

/** Places that a listener is told of by name; there may be hundreds. */
const namedPlaces = 4

/** The picture in words. */
export function describeDisk(version: string, comparison: ImageComparison): string {
  const { against, sizeBytes, sameBytes, changedBytes, clearedBytes, cells } = comparison
  const changed = cellRuns(cells).filter(({ kind }) => kind === 'changed')
  const at = (cell: number): string => `${Math.round((100 * cell) / cells.length)} %`
  const places = changed
    .slice(0, namedPlaces)
    .map(({ start, length }) => `from ${at(start)} to ${at(start + length)}`)
  const more = changed.length - places.length
  return [
    `Of the ${size(sizeBytes)} of the disk, ${percent(sameBytes, sizeBytes)} are in ${version} as in ${against}; ${size(changedBytes)} changed and ${size(clearedBytes)} were cleared.`,
    ...(places.length === 0
      ? []
      : [`It changed ${places.join(', ')}${more > 0 ? ` and in ${more} more places` : ''} of the disk.`]),
  ].join(' ')
}
