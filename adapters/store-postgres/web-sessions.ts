import { sql } from 'kysely'
import type { PersonRow, WebSessionRow } from './schema.ts'
import type { Db } from './store.ts'

export interface WebSessionWithPerson {
  readonly session: WebSessionRow
  readonly person: PersonRow
}

/**
 * Begins a web session. INVARIANT: none outlives the password that it was begun with: of a sign-in and a change of the account at once,
 * the sign-in comes first and is ended by the change, or is refused.
 *
 * @param checkedPassword the hash that the sign-in was checked against
 * @returns false when the account was disabled or has another password since
 */
export async function insertWebSession(
  db: Db,
  row: WebSessionRow,
  checkedPassword: string | null,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const person = await tx
      .selectFrom('people')
      .select('id')
      .where('id', '=', row.person_id)
      .where('disabled', '=', false)
      .where('password', 'is not distinct from', checkedPassword)
      .forShare()
      .executeTakeFirst()
    if (person === undefined) return false
    await tx.insertInto('web_sessions').values(row).execute()
    return true
  })
}

/** The live web session of a cookie and its person, in one round trip. */
export async function webSessionByToken(
  db: Db,
  tokenHash: Buffer,
  now: Date,
): Promise<WebSessionWithPerson | undefined> {
  const row = await db
    .selectFrom('web_sessions as w')
    .innerJoin('people as p', 'p.id', 'w.person_id')
    .selectAll('p')
    .select([
      'w.id as w_id',
      'w.thumbprint as w_thumbprint',
      'w.address as w_address',
      'w.created_at as w_created_at',
      'w.last_seen_at as w_last_seen_at',
      'w.expires_at as w_expires_at',
    ])
    .where('w.token_hash', '=', tokenHash)
    .where('w.expires_at', '>', now)
    .where('p.disabled', '=', false)
    .executeTakeFirst()
  if (row === undefined) return undefined
  const { w_id, w_thumbprint, w_address, w_created_at, w_last_seen_at, w_expires_at, ...person } = row
  const session = {
    id: w_id,
    token_hash: tokenHash,
    person_id: person.id,
    thumbprint: w_thumbprint,
    address: w_address,
    created_at: w_created_at,
    last_seen_at: w_last_seen_at,
    expires_at: w_expires_at,
  }
  return { session, person }
}

export async function webSessionById(db: Db, id: string): Promise<WebSessionRow | undefined> {
  return db.selectFrom('web_sessions').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function webSessionsByIds(db: Db, ids: readonly string[]): Promise<readonly WebSessionRow[]> {
  return db.selectFrom('web_sessions').selectAll().where(sql<boolean>`id = any(${ids}::uuid[])`).execute()
}

/** Notes that it was seen; it never ends sooner by that, since others may have prolonged it meanwhile. */
export async function touchWebSession(
  db: Db,
  id: string,
  change: { last_seen_at: Date; expires_at: Date; address: string },
): Promise<void> {
  const expires_at = sql<Date>`greatest(expires_at, ${change.expires_at}::timestamptz)`
  await db
    .updateTable('web_sessions')
    .set({ ...change, expires_at })
    .where('id', '=', id)
    .execute()
}

/**
 * Lets a web session that still lives live on until `until`, but never for longer than `longestMs` in all, and never shorter
 * than it would have.
 */
export async function prolongWebSession(
  db: Db,
  id: string,
  { now, until, longestMs }: { readonly now: Date; readonly until: Date; readonly longestMs: number },
): Promise<void> {
  const longest = sql`created_at + ${longestMs} * interval '1 millisecond'`
  await db
    .updateTable('web_sessions')
    .set({ expires_at: sql`greatest(expires_at, least(${until}::timestamptz, ${longest}))` })
    .where('id', '=', id)
    .where('expires_at', '>', now)
    .execute()
}

export async function deleteWebSession(db: Db, id: string): Promise<void> {
  await db.deleteFrom('web_sessions').where('id', '=', id).execute()
}

export async function deleteWebSessionsOf(db: Db, personId: string): Promise<void> {
  await db.deleteFrom('web_sessions').where('person_id', '=', personId).execute()
}

export async function deleteExpiredWebSessions(db: Db, now: Date): Promise<void> {
  await db.deleteFrom('web_sessions').where('expires_at', '<', now).execute()
}
