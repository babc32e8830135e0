import { sql, type Transaction } from 'kysely'
import type { Database, HandoffRow } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

/** Launches on their way from a browser to an endpoint. */

/** @param most how many of a web session may be open at once @returns false when there are as many: then this one is none */
export async function insertHandoff(
  db: Db,
  row: Omit<HandoffRow, 'used_at' | 'used_by'>,
  most: number,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // Whoever comes at the same time counts after this one is there.
    await tx
      .selectFrom('web_sessions')
      .select('id')
      .where('id', '=', row.web_session_id)
      .forNoKeyUpdate()
      .execute()
    if ((await countOpenHandoffs(tx, row.web_session_id, row.made_at)) >= most) return false
    await tx
      .insertInto('handoffs')
      .values({ ...row, used_at: null, used_by: null })
      .execute()
    return true
  })
}

/** How many codes of a web session could still be used. */
export async function countOpenHandoffs(db: Queries, webSessionId: string, now: Date): Promise<number> {
  const row = await db
    .selectFrom('handoffs')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('web_session_id', '=', webSessionId)
    .where('expires_at', '>', now)
    .where('used_at', 'is', null)
    .executeTakeFirst()
  return Number(row?.count ?? 0)
}

/** What became of a code that an endpoint brought: it is spent now, whoever brought it. */
export type TakenHandoff =
  | { readonly kind: 'taken'; readonly handoff: HandoffRow }
  | { readonly kind: 'used'; readonly handoff: HandoffRow }
  | { readonly kind: 'unknown' }

/** INVARIANT: of callers with the same code, one is told `taken`. */
export async function takeHandoff(
  db: Db,
  codeHash: Buffer,
  endpointId: string,
  at: Date,
): Promise<TakenHandoff> {
  const taken = await db
    .updateTable('handoffs')
    .set({ used_at: at, used_by: endpointId })
    .where('code_hash', '=', codeHash)
    .where('used_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
  if (taken !== undefined) return { kind: 'taken', handoff: taken }
  const used = await db
    .selectFrom('handoffs')
    .selectAll()
    .where('code_hash', '=', codeHash)
    .executeTakeFirst()
  return used === undefined ? { kind: 'unknown' } : { kind: 'used', handoff: used }
}

export async function deleteOldHandoffs(db: Db, before: Date): Promise<void> {
  await db.deleteFrom('handoffs').where('expires_at', '<', before).execute()
}

/** A browser and an endpoint have met on one machine: the endpoint brought a code that the browser was given. */
export async function noteBrowserEndpoint(
  db: Db,
  webSessionId: string,
  endpointId: string,
  at: Date,
): Promise<void> {
  await db
    .insertInto('browser_endpoints')
    .values({ web_session_id: webSessionId, endpoint_id: endpointId, seen_at: at })
    .onConflict((conflict) =>
      conflict.column('web_session_id').doUpdateSet({ endpoint_id: endpointId, seen_at: at }),
    )
    .execute()
}

/** The endpoint that a web session's browser has met last. */
export async function browserEndpoint(db: Db, webSessionId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('browser_endpoints')
    .select('endpoint_id')
    .where('web_session_id', '=', webSessionId)
    .executeTakeFirst()
  return row?.endpoint_id
}

/** The same of several web sessions: of each whose browser has met one, by its id. */
export async function browserEndpoints(
  db: Db,
  webSessionIds: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await db
    .selectFrom('browser_endpoints')
    .select(['web_session_id', 'endpoint_id'])
    .where(sql<boolean>`web_session_id = any(${webSessionIds}::uuid[])`)
    .execute()
  return new Map(rows.map((row) => [row.web_session_id, row.endpoint_id]))
}
