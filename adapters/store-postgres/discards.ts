import { type RawBuilder, sql } from 'kysely'
import type { AgentRow } from './schema.ts'
import type { Db } from './store.ts'

/** What deletions have machines discard: owed with the mark, asked for in the log, said to the machine, done when that says so. */

export interface Discard {
  readonly agent_id: string
  readonly person_id: string
  readonly scope: string
}

export interface DiscardDetail extends Discard {
  /** The machine that hears of it: the one that it was asked of, or what that was enrolled as since. */
  readonly told_id: string
  readonly kind: AgentRow['kind']
  /** Of the person. */
  readonly login: string
}

/** Has endpoints discard what leases of deleted people and workspaces have left; what comes after it was done is owed anew. @param which leases */
export async function oweDiscards(db: Db, which: RawBuilder<unknown>): Promise<void> {
  await sql`
    insert into discards (agent_id, person_id, scope)
    select distinct l.endpoint_id, l.person_id, case when p.discards then '' else l.scope end
    from leases l join people p on p.id = l.person_id join workspaces w on w.id = l.workspace_id
    where ${which} and l.overlay_at_start <> 'discard' and l.key_released_at is not null
      and (p.discards or (w.discards and l.scope <> ''))
    on conflict (agent_id, person_id, scope) do update set asked_at = null, done_at = null
      where discards.done_at is not null`.execute(db)
}

/** The same of homes on hosts. @param which sessions */
export async function oweHomes(db: Db, which: RawBuilder<unknown>): Promise<void> {
  await sql`
    insert into discards (agent_id, person_id, scope)
    select distinct s.host_id, s.person_id, '' from sessions s join people p on p.id = s.person_id
    where ${which} and s.host_id is not null and p.discards
    on conflict (agent_id, person_id, scope) do update set asked_at = null, done_at = null
      where discards.done_at is not null`.execute(db)
}

/** Homes may lie on a file system that hosts share: while a session runs on one, none removes anything. */
const runsNowhere = sql<boolean>`not (d.scope = '' and exists (
  select from sessions s where s.person_id = d.person_id and s.host_id is not null and s.state <> 'ended'))`

const mostAtOnce = 500

/** Of which the log was not told. @returns with the id of the admin who deleted */
export async function unaskedDiscards(db: Db): Promise<readonly (DiscardDetail & { readonly by: string })[]> {
  const { rows } = await sql<DiscardDetail & { readonly by: string }>`
    select d.agent_id, d.person_id, d.scope, coalesce(m.succeeded_by, m.id) as told_id, m.kind, p.login, case when d.scope = '' then p.deleted_by else w.deleted_by end as by
    from discards d join people p on p.id = d.person_id join agents m on m.id = d.agent_id left join workspaces w on w.id = d.scope
    where d.done_at is null and d.asked_at is null and ${runsNowhere} limit ${mostAtOnce}`.execute(db)
  return rows
}

export async function noteDiscardAsked(db: Db, discard: Discard, at: Date): Promise<void> {
  await discardRow(db, discard).set({ asked_at: at }).execute()
}

/** Whether a machine `m`, or what it was enrolled as since, is told what it shall discard. */
export const hearsDiscards = sql<boolean>`exists (
  select from agents a where a.id in (m.id, m.succeeded_by) and a.takes_discards and a.revoked_at is null)`

/** What a machine shall discard and has not, as far as nothing there is held open under a lease or by a session; also of what it was before. */
export async function awaitedDiscards(
  db: Db,
  agentId: string,
  most: number,
): Promise<readonly DiscardDetail[]> {
  return db
    .selectFrom('discards as d')
    .innerJoin('people as p', 'p.id', 'd.person_id')
    .innerJoin('agents as m', 'm.id', 'd.agent_id')
    .select(['d.agent_id', 'd.person_id', 'd.scope', 'm.kind', 'p.login'])
    .select(sql<string>`coalesce(m.succeeded_by, m.id)`.as('told_id'))
    .where(
      sql<boolean>`d.agent_id in (select id from agents where id = ${agentId} or succeeded_by = ${agentId})`,
    )
    .where('d.asked_at', 'is not', null)
    .where('d.done_at', 'is', null)
    .where(
      sql<boolean>`not exists (select from leases l where l.endpoint_id in (d.agent_id, m.succeeded_by) and l.person_id = d.person_id
        and l.state <> 'ended' and d.scope in ('', l.scope))`,
    )
    .where(runsNowhere)
    .orderBy('d.asked_at')
    .limit(most)
    .execute()
}

/** Its machine has said that nothing of it is left. */
export async function recordDiscarded(db: Db, discard: Discard, at: Date): Promise<void> {
  const { agent_id, person_id, scope } = discard
  await db.transaction().execute(async (tx) => {
    await discardRow(tx, discard).set({ done_at: at }).execute()
    await sql`
      update leases set superseded = true
      where endpoint_id = ${agent_id} and person_id = ${person_id} and ${scope} in ('', scope)
        and overlay_at_start <> 'discard' and state = 'ended' and not superseded`.execute(tx)
  })
}

function discardRow(db: Db, { agent_id, person_id, scope }: Discard) {
  return db
    .updateTable('discards')
    .where('agent_id', '=', agent_id)
    .where('person_id', '=', person_id)
    .where('scope', '=', scope)
}
