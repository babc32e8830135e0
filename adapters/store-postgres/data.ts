import { type RawBuilder, sql } from 'kysely'
import { openLeaseStates } from '#core/lease/index.ts'
import type { BeaconSeen } from '#core/trust/index.ts'
import { hearsDiscards } from './discards.ts'
import { bytesWritten } from './leases.ts'
import type { AgentRow, LeaseRow, PersonRow, SessionRow, WorkspaceRow } from './schema.ts'
import type { Db } from './store.ts'

/** Where data is now, and where it was left: of each kind a part, behind the one with the id `after`. */

/** Whose copies are looked for; of nobody in particular when neither is said. */
export interface CopyFilter {
  readonly personId?: string
  readonly workspaceId?: string
}

/** Of the copies that are looked for those behind the one with the id `after`. */
export interface CopyPart extends CopyFilter {
  readonly after?: string
}

/** What every copy is told by. */
interface CopyColumns {
  readonly person_login: string
  readonly person_name: string
  readonly person_deleted_at: PersonRow['deleted_at']
  readonly workspace: WorkspaceRow['definition']
  readonly workspace_deleted_at: WorkspaceRow['deleted_at']
  readonly machine_name: string
  readonly machine_seen_at: Date | null
  readonly machine_revoked_at: AgentRow['revoked_at']
  /** Of the web session that holds it. */
  readonly web_address: string | null
  /** From where the endpoint that it was opened at sent its last evidence, and what a beacon said of that one. */
  readonly agent_address: string | null
  readonly beacon: BeaconSeen | null
}

export interface HostedCopyRow
  extends CopyColumns,
    Pick<
      SessionRow,
      'id' | 'person_id' | 'workspace_id' | 'mode' | 'state' | 'connected' | 'started_at' | 'ends_at' | 'end'
    > {
  readonly host_id: string
}

export interface LeasedCopyRow extends CopyColumns, LeaseRow {}

/** What leases have left: of each overlay on an endpoint the last of them. */
export interface KeptCopyRow extends LeasedCopyRow {
  /** All that was written under them, bytes. */
  readonly written: string
  /** It is to be discarded: an admin has deleted its person or workspace so. */
  readonly discards: boolean
  readonly machine_hears_discards: boolean
}

const live = ['starting', 'ready', 'ending'] as const
/** Of each kind, in the order of their ids. */
export const copiesAtOnce = 5_000

/** By it parts of a list follow each other. Not the id itself: for the order of that its index is read, and with it all that ever was. */
export function textOf(id: string): RawBuilder<string> {
  return sql`${sql.ref(id)}::text collate "C"`
}

/** Of the rows that `which` finds in a table a part, found before anything is joined to them: they may be many, and long. */
function partOf(
  table: 'leases' | 'sessions',
  { after = '', ...about }: CopyPart,
  which: RawBuilder<unknown>,
): RawBuilder<string> {
  return sql`(select n.id from ${sql.table(table)} n where ${which} and ${isCopyOf(about, 'n')} and ${textOf('n.id')} > ${after}
    order by ${textOf('n.id')} limit ${copiesAtOnce})`
}

/** True for copies that are looked for. @param table that says whose they are */
export function isCopyOf({ personId, workspaceId }: CopyFilter, table: string): RawBuilder<boolean> {
  const person = personId === undefined ? sql`true` : sql`${sql.ref(`${table}.person_id`)} = ${personId}`
  const workspace =
    workspaceId === undefined ? sql`true` : sql`${sql.ref(`${table}.workspace_id`)} = ${workspaceId}`
  return sql`(${person} and ${workspace})`
}

/** Sessions on hosts that have not ended. */
export async function hostedCopies(db: Db, part: CopyPart = {}): Promise<readonly HostedCopyRow[]> {
  const rows = await db
    .selectFrom('sessions as s')
    .innerJoin('people as p', 'p.id', 's.person_id')
    .innerJoin('agents as m', 'm.id', 's.host_id')
    .innerJoin('workspaces as w', 'w.id', 's.workspace_id')
    .leftJoin('web_sessions as b', 'b.id', 's.web_session_id')
    .leftJoin('endpoint_evidence as v', 'v.endpoint_id', 's.from_endpoint_id')
    .select(['s.id', 's.person_id', 's.workspace_id', 's.mode', 's.state', 's.connected'])
    .select(['s.started_at', 's.ends_at', 's.end', 'm.id as host_id'])
    .select(['p.login as person_login', 'p.name as person_name', 'w.definition as workspace'])
    .select(['p.deleted_at as person_deleted_at', 'w.deleted_at as workspace_deleted_at'])
    .select(['m.name as machine_name', 'm.last_seen_at as machine_seen_at'])
    .select(['m.revoked_at as machine_revoked_at', 'b.address as web_address'])
    .select(['v.address as agent_address', 'v.beacon'])
    .where(
      's.id',
      'in',
      partOf('sessions', part, sql`n.state in (${sql.join(live)}) and n.host_id is not null`),
    )
    .orderBy(textOf('s.id'))
    .execute()
  return rows
}

function leased(db: Db) {
  return db
    .selectFrom('leases as l')
    .innerJoin('sessions as s', 's.id', 'l.session_id')
    .innerJoin('people as p', 'p.id', 'l.person_id')
    .innerJoin('agents as m', 'm.id', 'l.endpoint_id')
    .innerJoin('workspaces as w', 'w.id', 'l.workspace_id')
    .leftJoin('web_sessions as b', 'b.id', 's.web_session_id')
    .leftJoin('endpoint_evidence as v', 'v.endpoint_id', 'l.endpoint_id')
    .selectAll('l')
    .select(['p.login as person_login', 'p.name as person_name', 'w.definition as workspace'])
    .select(['p.deleted_at as person_deleted_at', 'w.deleted_at as workspace_deleted_at'])
    .select(['m.name as machine_name', 'm.last_seen_at as machine_seen_at'])
    .select(['m.revoked_at as machine_revoked_at', 'b.address as web_address'])
    .select(['v.address as agent_address', 'v.beacon'])
    .orderBy(textOf('l.id'))
}

/** Leases under which something may still be read. */
export async function leasedCopies(db: Db, part: CopyPart = {}): Promise<readonly LeasedCopyRow[]> {
  return leased(db)
    .where('l.id', 'in', partOf('leases', part, sql`n.state in (${sql.join(openLeaseStates)})`))
    .execute()
}

/** Virtual machines that stand still in memory although their lease is over, as their endpoint has said after `since`. */
export async function pausedCopies(
  db: Db,
  since: Date,
  part: CopyPart = {},
): Promise<readonly LeasedCopyRow[]> {
  return leased(db)
    .where('l.id', 'in', partOf('leases', part, sql`n.state = 'ended' and n.paused_at > ${since}`))
    .execute()
}

/**
 * Overlays that are still on their endpoints although no lease reads them. One is gone for sure only when its endpoint has said that a lease
 * ended which opened it and was to discard it in the end: whoever says nothing before its lease's end may have been switched off.
 *
 * @param pausedSince overlays of machines that stand still in memory since then are no copies of their own
 */
export async function keptCopies(
  db: Db,
  pausedSince: Date,
  { after = '', ...about }: CopyPart = {},
): Promise<readonly KeptCopyRow[]> {
  const last = sql`
    (select (array_agg(k.id order by k.ended_at desc))[1] as id, k.person_id,
      (array_agg(k.workspace_id order by k.ended_at desc))[1] as workspace_id, sum(k.written)::text as written
    from (
      select l.id, l.endpoint_id, l.person_id, l.workspace_id, l.scope, l.image, l.version, l.ended_at, ${bytesWritten('l')} as written,
        max(l.ended_at) filter (where l.overlay = 'discard' and l.ended_at <= l.expires_at) over same as discarded_at,
        bool_or(l.state <> 'ended' or coalesce(l.paused_at > ${pausedSince}, false)) over same as is_open
      from leases l
      where l.overlay_at_start <> 'discard' and not l.superseded
      window same as (partition by l.endpoint_id, l.person_id, l.scope, l.image, l.version)
    ) k
    where not k.is_open and k.written > 0 and (k.discarded_at is null or k.ended_at > k.discarded_at)
    group by k.endpoint_id, k.person_id, k.scope, k.image, k.version)`
  const part = sql<{ id: string; written: string }>`
    (select n.id, n.written from ${last} n where ${isCopyOf(about, 'n')} and ${textOf('n.id')} > ${after}
    order by ${textOf('n.id')} limit ${copiesAtOnce})`
  return leased(db)
    .innerJoin(part.as('k'), (join) => join.onRef('k.id', '=', 'l.id'))
    .select(['k.written', hearsDiscards.as('machine_hears_discards')])
    .select(
      sql<boolean>`exists (select from discards d where d.done_at is null and d.agent_id = l.endpoint_id
        and d.person_id = l.person_id and d.scope in ('', l.scope))`.as('discards'),
    )
    .where('l.overlay_at_start', '<>', 'discard')
    .where(sql<boolean>`not l.superseded`)
    .execute()
}
