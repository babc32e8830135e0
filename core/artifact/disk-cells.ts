import type { ChunkChange } from './diff-images.ts'

/** A disk in parts of the same size, for a picture of what changed in it. */
export interface DiskCells {
  /** As `onChunk` of `diffImages` is called. */
  readonly mark: (offset: number, length: number, change: ChunkChange) => void
  /** One letter for each part: `c` something in it changed, `z` something was cleared, `s` it is the same, `.` it is empty. */
  readonly text: () => string
}

/** The weakest first: nothing that changed is lost in a part that is otherwise the same. */
const letters = '.szc'
const rank: Readonly<Record<ChunkChange, number>> = { empty: 0, same: 1, cleared: 2, changed: 3 }

/** @param count of the parts */
export function diskCells(sizeBytes: number, count: number): DiskCells {
  const ranks = new Uint8Array(count)
  return {
    mark(offset, length, change) {
      const first = Math.floor((offset * count) / sizeBytes)
      const end = Math.min(count, Math.ceil(((offset + length) * count) / sizeBytes))
      for (let at = first; at < end; at++) ranks[at] = Math.max(ranks[at] ?? 0, rank[change])
    },
    text: () => Array.from(ranks, (each) => letters[each]).join(''),
  }
}
