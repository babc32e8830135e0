import type { BootTrace, TraceRange } from './boot-trace.ts'

/** What is asked for at once: what a store reads in one request. */
const largestPieceBytes = 1_048_576
/** Pieces grow by what the trace has within so many later ranges: several readers take turns in a boot. */
const lookAhead = 64

export interface ReplayOptions {
  /** Ends the replay: nothing more is asked for. */
  readonly signal: AbortSignal
  /** Pieces of up to 1 MiB that are under way at once. */
  readonly concurrency?: number
}

/**
 * Has what a boot will read fetched in the order in which one read it, neighbours together.
 *
 * @param warm settles when the range was fetched, or could not be; never rejects
 * @returns when all that was asked for has settled
 */
export async function replayTrace(
  trace: BootTrace,
  warm: (offset: number, length: number) => Promise<void>,
  { signal, concurrency = 16 }: ReplayOptions,
): Promise<void> {
  const pieces = piecesOf(trace)
  const work = async (): Promise<void> => {
    for (const { offset, length } of pieces) {
      if (signal.aborted) return
      await warm(offset, length)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
}

/** The ranges of a trace in its order, those that touch as one, none of more than 1 MiB. */
export function* piecesOf({ ranges }: BootTrace): Generator<{ offset: number; length: number }> {
  const byOffset = new Map(ranges.map((range, index) => [range.offset, { range, index }]))
  for (const [index, range] of ranges.entries()) {
    if (!byOffset.has(range.offset)) continue
    const end = takeRun(byOffset, range, index)
    for (let offset = range.offset; offset < end; offset += largestPieceBytes) {
      yield { offset, length: Math.min(largestPieceBytes, end - offset) }
    }
  }
}

/** Takes a range and those that follow it on the disk, as far as they come soon and make no more than a piece. */
function takeRun(
  byOffset: Map<number, { readonly range: TraceRange; readonly index: number }>,
  { offset, length }: TraceRange,
  index: number,
): number {
  byOffset.delete(offset)
  let end = offset + length
  for (;;) {
    const next = byOffset.get(end)
    if (next === undefined || next.index > index + lookAhead) return end
    if (end + next.range.length - offset > largestPieceBytes) return end
    byOffset.delete(end)
    end += next.range.length
  }
}
