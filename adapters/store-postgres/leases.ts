import { type RawBuilder, sql, type Transaction } from 'kysely'
import type { LeaseNotice, LeaseStats } from '#core/api/lease.ts'
import { maxOpenLeases, openLeaseStates } from '#core/lease/index.ts'
import type { Obligations, Right } from '#core/trust/words.ts'
import { oweDiscards } from './discards.ts'
import { isBehind, isFound, type Page } from './paging.ts'
import type { Database, LeaseRow, NewLease, NewSession } from './schema.ts'
import type { Db } from './store.ts'

/** A lease with what every view of it shows. */
export interface LeaseDetail extends LeaseRow {
  readonly person_login: string
  readonly person_name: string
  /** Of its session. */
  readonly rights: readonly Right[]
  readonly obligations: Obligations
}

/**
 * Stores a session on an endpoint together with its lease, or neither.
 *
 * @param most how many leases the endpoint may have open at once
 * @returns 'exists' when the person already has a live session of the workspace, 'full' when the endpoint has as many leases
 */
export async function placeOnEndpoint(
  db: Db,
  session: NewSession & { readonly endpoint_id: string },
  lease: NewLease,
  most: number = maxOpenLeases,
): Promise<'placed' | 'exists' | 'full'> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .insertInto('sessions')
      .values(session)
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .executeTakeFirst()
    if (row === undefined) return 'exists'
    // Whoever comes at the same time counts after this one is there. Taken last, as `placeSession` does.
    await tx
      .selectFrom('agents')
      .select('id')
      .where('id', '=', session.endpoint_id)
      .forNoKeyUpdate()
      .execute()
    if ((await openLeasesAt(tx, session.endpoint_id)) >= most) {
      await tx.deleteFrom('sessions').where('id', '=', row.id).execute()
      return 'full'
    }
    await tx
      .insertInto('leases')
      .values({ ...lease, overlay_at_start: lease.overlay })
      .execute()
    return 'placed'
  })
}

async function openLeasesAt(tx: Transaction<Database>, endpointId: string): Promise<number> {
  const { open } = await tx
    .selectFrom('leases')
    .select((eb) => eb.fn.countAll<string>().as('open'))
    .where('endpoint_id', '=', endpointId)
    .where('state', 'in', openLeaseStates)
    .executeTakeFirstOrThrow()
  return Number(open)
}

function details(db: Db) {
  return db
    .selectFrom('leases as l')
    .innerJoin('people as p', 'p.id', 'l.person_id')
    .innerJoin('sessions as s', 's.id', 'l.session_id')
    .selectAll('l')
    .select(['p.login as person_login', 'p.name as person_name', 's.rights', 's.obligations'])
}

export async function leaseById(db: Db, id: string): Promise<LeaseDetail | undefined> {
  return details(db).where('l.id', '=', id).executeTakeFirst()
}

export async function leaseOfSession(db: Db, sessionId: string): Promise<LeaseDetail | undefined> {
  return details(db).where('l.session_id', '=', sessionId).executeTakeFirst()
}

/** Leases of an endpoint under which something may still be read, oldest first. */
export async function openLeases(db: Db, endpointId: string): Promise<readonly LeaseDetail[]> {
  return (await openLeasesOf(db, [endpointId])).get(endpointId) ?? []
}

/** The same of several endpoints, by their ids. None has more than `maxOpenLeases`. */
export async function openLeasesOf(
  db: Db,
  endpointIds: readonly string[],
): Promise<ReadonlyMap<string, readonly LeaseDetail[]>> {
  const rows = await details(db)
    .where('l.state', 'in', openLeaseStates)
    .where(sql<boolean>`l.endpoint_id = any(${endpointIds}::uuid[])`)
    .orderBy('l.made_at')
    .execute()
  return Map.groupBy(rows, (row) => row.endpoint_id)
}

/** Which open leases are looked for. */
export interface LeaseFilter {
  /** In the names of endpoint, person, workspace and image. */
  readonly search?: string | undefined
  readonly image?: string | undefined
  readonly version?: string | undefined
}

export interface ListedLease extends LeaseDetail {
  readonly endpoint_name: string
  readonly endpoint_seen_at: Date | null
  readonly endpoint_revoked_at: Date | null
}

function leasesLike(db: Db, filter: LeaseFilter) {
  let query = details(db)
    .innerJoin('agents as m', 'm.id', 'l.endpoint_id')
    .where('l.state', 'in', openLeaseStates)
    .where(isFound(filter, ['m.name', 'p.login', 'p.name', 'l.workspace_id', 'l.image', 'l.version']))
  if (filter.image !== undefined) query = query.where('l.image', '=', filter.image)
  if (filter.version !== undefined) query = query.where('l.version', '=', filter.version)
  return query
}

/** Leases under which something may still be read, oldest first, with where they are. */
export async function listOpenLeases(db: Db, page: Page & LeaseFilter): Promise<readonly ListedLease[]> {
  return leasesLike(db, page)
    .select(['m.name as endpoint_name', 'm.last_seen_at as endpoint_seen_at'])
    .select('m.revoked_at as endpoint_revoked_at')
    .where(isBehind(page, 'leases', 'l', ['made_at', 'id']))
    .orderBy('l.made_at')
    .orderBy('l.id')
    .limit(page.limit)
    .execute()
}

export async function countOpenLeases(db: Db, filter: LeaseFilter): Promise<number> {
  const { all } = await leasesLike(db, filter)
    .clearSelect()
    .select((eb) => eb.fn.countAll<string>().as('all'))
    .executeTakeFirstOrThrow()
  return Number(all)
}

/** How many open leases there are of each image version. */
export async function imagesInUse(
  db: Db,
): Promise<readonly { readonly image: string; readonly version: string; readonly leases: number }[]> {
  const rows = await db
    .selectFrom('leases')
    .select((eb) => ['image', 'version', eb.fn.countAll<string>().as('leases')])
    .where('state', 'in', openLeaseStates)
    .groupBy(['image', 'version'])
    .execute()
  return rows.map((row) => ({ ...row, leases: Number(row.leases) }))
}

/** The key is on its way. @returns false when the lease was withdrawn or is over: then it must not be sent */
export async function noteKeyReleased(db: Db, id: string, at: Date): Promise<boolean> {
  const row = await db
    .updateTable('leases')
    .set({ key_released_at: at })
    .where('id', '=', id)
    .where('state', '=', 'offered')
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** The endpoint says that it holds the lease. @returns false when it may not any more */
export async function holdLease(db: Db, id: string): Promise<boolean> {
  const row = await db
    .updateTable('leases')
    .set({ state: 'held' })
    .where('id', '=', id)
    .where('state', 'in', ['offered', 'held'])
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function recordLeaseStats(db: Db, id: string, stats: LeaseStats): Promise<void> {
  await db
    .updateTable('leases')
    .set({ stats: JSON.stringify(stats) })
    .where('id', '=', id)
    .execute()
}

/** Moves the end of a lease that stands, or decides otherwise about its overlay. Once its time has come its endpoint has stopped by itself. */
export async function renewLease(
  db: Db,
  id: string,
  terms: Partial<Pick<LeaseRow, 'expires_at' | 'overlay'>>,
  now: Date,
): Promise<void> {
  await db
    .updateTable('leases')
    .set(terms)
    .where('id', '=', id)
    .where('state', 'in', ['offered', 'held'])
    .where('expires_at', '>', now)
    .execute()
}

/** Takes a lease back, once: the first reason stands. Its end is not moved: until then the endpoint may not have heard. */
export async function withdrawLease(db: Db, id: string, notice: LeaseNotice, at: Date): Promise<boolean> {
  const row = await db
    .updateTable('leases')
    .set({ state: 'withdrawn', withdrawn_at: at, notice: JSON.stringify(notice) })
    .where('id', '=', id)
    .where('state', 'in', ['offered', 'held'])
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Nothing can be read under it any more. @returns false when that was known */
export async function endLease(db: Db, id: string, at: Date): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .updateTable('leases')
      .set({ state: 'ended', ended_at: at })
      .where('id', '=', id)
      .where('state', '<>', 'ended')
      .returning(['id', 'overlay', 'overlay_at_start', 'expires_at'])
      .executeTakeFirst()
    if (row !== undefined && row.overlay_at_start !== 'discard') {
      await supersede(tx, id, row.overlay === 'discard' && at <= row.expires_at)
      // One that came while its person or workspace was deleted has left something, too.
      await oweDiscards(tx, sql`l.id = ${id}`)
    }
    return row !== undefined
  })
}

/**
 * From now on the lease stands for those that ended before it on the same overlay, so that what is kept is counted without its history.
 * Of two that end at once both stand, until a third ends.
 *
 * @param isGone the overlay was discarded: none of them stands any more
 */
async function supersede(tx: Transaction<Database>, id: string, isGone: boolean): Promise<void> {
  await sql`
    with earlier as (
      update leases e set superseded = true from leases l
      where l.id = ${id} and e.id <> l.id and e.state = 'ended' and e.overlay_at_start <> 'discard' and not e.superseded
        and (e.endpoint_id, e.person_id, e.scope, e.image, e.version) = (l.endpoint_id, l.person_id, l.scope, l.image, l.version)
      returning ${bytesWritten('e')} as written)
    update leases set superseded = ${isGone}, written_before = (select coalesce(sum(written), 0) from earlier)
    where id = ${id}`.execute(tx)
}

/** By a lease and those that it stands for. */
export function bytesWritten(table: string): RawBuilder<string> {
  const [stats, before] = [sql.ref(`${table}.stats`), sql.ref(`${table}.written_before`)]
  return sql`(coalesce((${stats}->>'bytesWritten')::bigint, 0) + ${before})`
}

/** @param at when its endpoint said that a virtual machine stands still in memory; null when it says that it does not */
export async function recordPaused(db: Db, id: string, at: Date | null): Promise<void> {
  await db.updateTable('leases').set({ paused_at: at }).where('id', '=', id).execute()
}

/** Leases that are over but for what stands still in an endpoint's memory, as it has said after `since`. */
export async function pausedLeases(db: Db, endpointId: string, since: Date): Promise<readonly LeaseDetail[]> {
  return details(db)
    .where('l.endpoint_id', '=', endpointId)
    .where('l.paused_at', '>', since)
    .where('l.state', '=', 'ended')
    .limit(maxOpenLeases / 2)
    .execute()
}

/** Leases whose time has come without their endpoint saying so. */
export async function expiredLeases(db: Db, now: Date): Promise<readonly LeaseDetail[]> {
  return details(db)
    .where('l.state', 'in', openLeaseStates)
    .where('l.expires_at', '<', now)
    .limit(500)
    .execute()
}
