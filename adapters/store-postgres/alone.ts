import { sql } from 'kysely'
import type { Db } from './store.ts'

/**
 * Does the work when no node does any under this name, else after that: it reads anew what was read before.
 *
 * No row is locked meanwhile, so that nobody but whoever works under the same name waits. One connection is held beside those that the work
 * takes: whoever calls this often does so in turns.
 */
export async function alone<T>(db: Db, name: string, work: () => Promise<T>): Promise<T> {
  return db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(tx)
    return work()
  })
}
