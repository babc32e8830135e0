import { type Insertable, sql } from 'kysely'
import type { Database, DecisionRow } from './schema.ts'
import type { Db } from './store.ts'

export async function insertDecision(db: Db, row: Insertable<Database['decisions']>): Promise<void> {
  await db.insertInto('decisions').values(row).execute()
}

/** Newest first. @param page `before`: id of the last one that is known already; many are made in one millisecond */
export async function listDecisions(
  db: Db,
  page: { readonly limit: number; readonly before?: string | undefined },
): Promise<readonly (DecisionRow & { readonly login: string; readonly name: string })[]> {
  let query = db
    .selectFrom('decisions as d')
    .innerJoin('people as p', 'p.id', 'd.person_id')
    .selectAll('d')
    .select(['p.login', 'p.name'])
    .orderBy('d.at', 'desc')
    .orderBy('d.id', 'desc')
    .limit(page.limit)
  if (page.before !== undefined)
    query = query.where(sql<boolean>`(d.at, d.id) < (select at, id from decisions where id = ${page.before})`)
  return query.execute()
}
