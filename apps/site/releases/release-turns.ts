import type { Transaction } from 'kysely'
import { type Database, lockReleases } from '#adapters/store-postgres/index.ts'
import type { Site } from '../site.ts'

/**
 * Changes what is proposed, published or promoted: one change after the other, over all nodes.
 *
 * Within a node they queue here and not in the database: each holds a connection while it waits for the audit log, which
 * needs another, and many at once would leave it none.
 */
export async function changeReleases<T>(
  site: Site,
  change: (tx: Transaction<Database>) => Promise<T>,
): Promise<T> {
  const { db } = site.store
  const run = (): Promise<T> =>
    db.transaction().execute(async (tx) => {
      await lockReleases(tx)
      return change(tx)
    })
  const turn = (turns.get(db) ?? Promise.resolve()).then(run, run)
  turns.set(db, turn)
  return turn
}

/** The last change of each database that this process works on. */
const turns = new WeakMap<Site['store']['db'], Promise<unknown>>()
