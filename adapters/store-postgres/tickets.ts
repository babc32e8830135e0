import type { Transaction } from 'kysely'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

export interface NewTicket {
  readonly id: Buffer
  readonly session_id: string
  readonly sealed: Buffer
  readonly expires_at: Date
}

/** @param most how many of a session may be open at once @returns false when there are as many: then this one is none */
export async function insertTicket(
  db: Db,
  ticket: NewTicket,
  { now, most }: { readonly now: Date; readonly most: number },
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // Whoever comes at the same time counts after this one is there.
    await tx
      .selectFrom('sessions')
      .select('id')
      .where('id', '=', ticket.session_id)
      .forNoKeyUpdate()
      .execute()
    if ((await countOpenTickets(tx, ticket.session_id, now)) >= most) return false
    await tx.insertInto('tickets').values(ticket).execute()
    return true
  })
}

/** How many tickets of a session could still be used. */
export async function countOpenTickets(db: Queries, sessionId: string, now: Date): Promise<number> {
  const row = await db
    .selectFrom('tickets')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('session_id', '=', sessionId)
    .where('expires_at', '>', now)
    .where('redeemed_at', 'is', null)
    .executeTakeFirst()
  return Number(row?.count ?? 0)
}

/** A message to a host holds no more. */
const mostShown = 2000

/** Tickets that the host may still be shown, oldest first. */
export async function openTickets(db: Db, hostId: string, now: Date): Promise<readonly NewTicket[]> {
  return db
    .selectFrom('tickets as t')
    .innerJoin('sessions as s', 's.id', 't.session_id')
    .select(['t.id', 't.session_id', 't.sealed', 't.expires_at'])
    .where('s.host_id', '=', hostId)
    .where('s.state', 'in', ['starting', 'ready'])
    .where('t.expires_at', '>', now)
    .where('t.redeemed_at', 'is', null)
    .orderBy('t.expires_at')
    .limit(mostShown)
    .execute()
}

/** The host holds the ticket and its session is ready. */
export async function armTicket(db: Db, id: Buffer, hostId: string, at: Date): Promise<void> {
  await db
    .updateTable('tickets')
    .set({ armed_at: at })
    .where('id', '=', id)
    .where((eb) =>
      eb('session_id', 'in', eb.selectFrom('sessions').select('sessions.id').where('host_id', '=', hostId)),
    )
    .execute()
}

export async function isTicketArmed(db: Db, id: Buffer): Promise<boolean> {
  const row = await db.selectFrom('tickets').select('armed_at').where('id', '=', id).executeTakeFirst()
  return row?.armed_at != null
}

/** @returns the session, or undefined when the ticket was not this host's or was reported before */
export async function redeemTicket(
  db: Db,
  id: Buffer,
  hostId: string,
  at: Date,
): Promise<string | undefined> {
  const row = await db
    .updateTable('tickets')
    .set({ redeemed_at: at })
    .where('id', '=', id)
    .where('redeemed_at', 'is', null)
    .where((eb) =>
      eb('session_id', 'in', eb.selectFrom('sessions').select('sessions.id').where('host_id', '=', hostId)),
    )
    .returning('session_id')
    .executeTakeFirst()
  return row?.session_id
}

export async function deleteOldTickets(db: Db, before: Date): Promise<void> {
  await db.deleteFrom('tickets').where('expires_at', '<', before).execute()
}
