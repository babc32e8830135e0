import type { Monitor } from './monitor.ts'
import { readTables, type Tables } from './read-tables.ts'

const readMs = 30_000
const keptMs = 120_000

/** The tables for several who look, read anew when the kernel tells of a change. */
export interface SharedTables {
  readonly read: (signal: AbortSignal) => Promise<Tables>
  /** As soon as the monitor listens, until the signal, what was read is kept. To be called before others hear of changes from the monitor. */
  readonly keep: (signal: AbortSignal) => void
}

/** What was read is kept for two minutes at most: a monitor that died tells of nothing. */
export function sharedTables(monitor: Monitor): SharedTables {
  let last: { readonly at: number; readonly tables: Promise<Tables> } | undefined
  let isWatched = false
  let isKept = false
  return {
    read: async (signal) => {
      if (last === undefined || !isKept || performance.now() - last.at > keptMs) {
        const mine = { at: performance.now(), tables: readTables(AbortSignal.timeout(readMs)) }
        last = mine
        mine.tables.catch(() => {
          if (last === mine) last = undefined
        })
      }
      const tables = await last.tables
      signal.throwIfAborted()
      return tables
    },
    keep: (signal) => {
      if (isWatched || signal.aborted) return
      isWatched = true
      monitor(({ table }) => {
        if (table !== 'NEIGH') last = undefined
        if (table === 'ALL') isKept = true
      }, signal)
      signal.addEventListener('abort', () => {
        isWatched = false
        isKept = false
      })
    },
  }
}
