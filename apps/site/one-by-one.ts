import { alone } from '#adapters/store-postgres/index.ts'
import type { Site } from './site.ts'
import { createTurns } from './turns.ts'

/**
 * Work of which one piece for each name is done at a time, over all nodes: what is looked at, written down (I7) and then changed is not changed
 * by another in between. INVARIANT: no such work has other such work in it, or those that wait for a turn would be waited for.
 */
export async function oneByOne<T>(site: Site, name: string, work: () => Promise<T>): Promise<T> {
  return turns.take(() => alone(site.store.db, name, work))
}

/** Each holds a connection while it works with others. */
const turns = createTurns(3)
