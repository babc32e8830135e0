import { BlobError } from '#core/blobs/index.ts'

/** How long several sources that are all away are asked again. */
export interface Patience {
  /** How often all are asked at most, the first time included. */
  readonly rounds: number
  /** Waits before the next round. @param round 1 after the first @throws the reason of `signal` */
  pause(round: number, signal: AbortSignal): Promise<unknown>
}

/** Asks once. */
export const noPatience: Patience = { rounds: 1, pause: async () => {} }

/**
 * Asks sources one after another until one answers; when none does and some were away, all again after a pause. One
 * that is away so costs nothing as long as another is there.
 *
 * @throws what the first one said last
 */
export async function inTurn<Source, T>(
  sources: () => readonly Source[],
  ask: (source: Source) => Promise<T>,
  patience: Patience,
  signal: AbortSignal,
): Promise<T> {
  for (let round = 1; ; round++) {
    const errors: unknown[] = []
    for (const source of sources()) {
      signal.throwIfAborted()
      try {
        return await ask(source)
      } catch (error) {
        errors.push(error)
      }
    }
    signal.throwIfAborted()
    if (round >= patience.rounds || !errors.some(isAway)) throw errors[0]
    await patience.pause(round, signal)
  }
}

export function isAway(error: unknown): boolean {
  return error instanceof BlobError && error.code === 'BLOB_UNAVAILABLE'
}
