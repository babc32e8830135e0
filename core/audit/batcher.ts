import { AuditError } from './errors.ts'

export interface AppenderOptions {
  /**
   * Makes a batch durable and gives the index of each entry, in order. One call runs at a time. All or nothing: if it
   * rejects, no entry of the batch is in the log.
   */
  readonly commit: (batch: readonly Uint8Array[]) => Promise<readonly bigint[]>
  /** Most entries of a batch, at least 1. */
  readonly maxBatch: number
}

export interface Appender {
  /**
   * Resolves to the entry's index once the batch that holds it is durable (I7: only then may what it tells take effect),
   * rejects with the error of that batch's commit.
   *
   * @param entry not to be changed afterwards
   */
  readonly append: (entry: Uint8Array) => Promise<bigint>
}

/** Lets many writers share one flush: what arrives while a batch is being committed makes up the next. */
export function createAppender({ commit, maxBatch }: AppenderOptions): Appender {
  const waiting: Waiting[] = []
  let isRunning = false

  const run = async (): Promise<void> => {
    isRunning = true
    // One turn later, so that what is appended together is committed together.
    await Promise.resolve()
    while (waiting.length > 0) await commitBatch(waiting.splice(0, Math.max(1, maxBatch)), commit)
    isRunning = false
  }

  return {
    append: (entry) => {
      const { promise, resolve, reject } = Promise.withResolvers<bigint>()
      waiting.push({ entry, resolve, reject })
      if (!isRunning) void run()
      return promise
    },
  }
}

interface Waiting {
  readonly entry: Uint8Array
  readonly resolve: (index: bigint) => void
  readonly reject: (error: unknown) => void
}

async function commitBatch(batch: readonly Waiting[], commit: AppenderOptions['commit']): Promise<void> {
  try {
    const indexes = await commit(batch.map(({ entry }) => entry))
    if (indexes.length !== batch.length) {
      throw new AuditError(
        'AUDIT_BAD_COMMIT',
        `${batch.length} entries committed, ${indexes.length} indexes given`,
      )
    }
    for (const [i, index] of indexes.entries()) batch[i]?.resolve(index)
  } catch (error) {
    for (const { reject } of batch) reject(error)
  }
}
