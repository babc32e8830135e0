import {
  type Link,
  type Neighbour,
  parseLinks,
  parseNeighbours,
  parseRoutes,
  type Route,
} from '#core/network/index.ts'
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

export async function readNeighbours(signal: AbortSignal): Promise<readonly Neighbour[]> {
  return parseNeighbours(await ip(['-j', '-4', 'neigh', 'show'], signal))
}

async function ip(words: readonly string[], signal: AbortSignal): Promise<string> {
  const { status, stdout } = await run('ip', words, signal)
  if (status !== 0) throw new Error(`ip ${words.join(' ')} ended with ${status ?? 'no status'}`)
  return stdout
}
