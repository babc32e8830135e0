import type { Insertable } from 'kysely'
import type { Database, DecisionRow } from './schema.ts'
import type { Db } from './store.ts'

export async function insertDecision(db: Db, row: Insertable<Database['decisions']>): Promise<void> {
  await db.insertInto('decisions').values(row).execute()
}

/** Newest first. */
export async function listDecisions(
  db: Db,
  page: { readonly limit: number; readonly before?: Date | undefined },
): Promise<readonly (DecisionRow & { readonly login: string; readonly name: string })[]> {
  let query = db
    .selectFrom('decisions as d')
    .innerJoin('people as p', 'p.id', 'd.person_id')
    .selectAll('d')
    .select(['p.login', 'p.name'])
    .orderBy('d.at', 'desc')
    .limit(page.limit)
  if (page.before !== undefined) query = query.where('d.at', '<', page.before)
  return query.execute()
}
