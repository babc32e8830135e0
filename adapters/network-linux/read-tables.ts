import {
  type Link,
  type Neighbour,
  parseLinks,
  parseNeighbours,
  parseRoutes,
  type Route,
} from '#core/network/index.ts'
import type { Monitor } from './monitor.ts'
import { run } from './run.ts'

/** The machine's network as its kernel has it. */
export interface Tables {
  readonly links: readonly Link[]
  readonly routes: readonly Route[]
}

/** @throws {NetworkError} NETWORK_BAD_TABLE; an error where iproute2 is not there */
export async function readTables(signal: AbortSignal): Promise<Tables> {
  const [links, routes] = await Promise.all([
    ip(['-j', '-s', '-s', 'address', 'show'], signal),
    ip(['-j', '-4', 'route', 'show', 'table', 'all'], signal),
  ])
  return { links: parseLinks(links), routes: parseRoutes(routes) }
}

const readMs = 30_000
const keptMs = 120_000
/** Before a monitor listens it does not say so, and what changes meanwhile it does not tell. */
const deafMs = 10_000

/** The tables for several who look, read anew when the kernel tells of a change. */
export interface SharedTables {
  readonly read: (signal: AbortSignal) => Promise<Tables>
  /** From now on until the signal what was read is kept. To be called before others hear of changes from the monitor. */
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
      }, signal)
      const listening = setTimeout(() => {
        last = undefined
        isKept = true
      }, deafMs).unref()
      signal.addEventListener('abort', () => {
        clearTimeout(listening)
        isWatched = false
        isKept = false
      })
    },
  }
}

export async function readNeighbours(signal: AbortSignal): Promise<readonly Neighbour[]> {
  return parseNeighbours(await ip(['-j', '-4', 'neigh', 'show'], signal))
}

async function ip(words: readonly string[], signal: AbortSignal): Promise<string> {
  const { status, stdout } = await run('ip', words, signal)
  if (status !== 0) throw new Error(`ip ${words.join(' ')} ended with ${status ?? 'no status'}`)
  return stdout
}
