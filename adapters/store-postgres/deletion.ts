import { type RawBuilder, sql, type Transaction } from 'kysely'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import { openLeaseStates } from '#core/lease/index.ts'
import { hearsDiscards, oweDiscards, oweHomes } from './discards.ts'
import type { Database, PersonRow } from './schema.ts'
import { type Db, tellIn } from './store.ts'
import { deleteWebSessionsOf } from './web-sessions.ts'

/**
 * People and workspaces that are deleted. INVARIANT: their rows stay, so that an id is never used again, what tells of them keeps their names,
 * and what is left to be done is found by any node at any time.
 */

export interface Deletion {
  readonly at: Date
  /** Id of the admin. */
  readonly by: string
  /** What was written there is discarded. */
  readonly discards: boolean
}

/** Looks at what is about to be deleted; what it throws leaves everything as it is. */
export type Look<T> = (found: T) => void

/** Takes all that a person signs in with and owns. What runs ends after it: see `sessionsOfDeleted`. @returns false when there is no such person */
export async function deletePerson(
  db: Db,
  id: string,
  deletion: Deletion,
  look?: Look<PersonRow>,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .selectFrom('people')
      .selectAll()
      .where('id', '=', id)
      .where('deleted_at', 'is', null)
      .forUpdate()
      .executeTakeFirst()
    if (row === undefined) return false
    look?.(row)
    await tx
      .updateTable('people')
      .set({ ...markOf(deletion), disabled: true, groups: [], password: null })
      .where('id', '=', id)
      .execute()
    // After the mark, so that no sign-in slips in between.
    await deleteWebSessionsOf(tx, id)
    await tx.deleteFrom('known_sources').where('person_id', '=', id).execute()
    await tx.deleteFrom('enrolment_tokens').where('owner_id', '=', id).where('used_at', 'is', null).execute()
    await tx.updateTable('agents').set({ owner_id: null }).where('owner_id', '=', id).execute()
    if (deletion.discards) {
      await discardAtEnd(tx, sql`person_id = ${id}`)
      await oweDiscards(tx, sql`l.person_id = ${id}`)
      await oweHomes(tx, sql`s.person_id = ${id}`)
    }
    await tellIn(tx, { topic: 'person', id })
    await tellIn(tx, { topic: 'deleted' })
    return true
  })
}

/** Nobody can open it any more. What runs ends after it. @returns false when there is no such workspace */
export async function deleteWorkspace(
  db: Db,
  id: string,
  deletion: Deletion,
  look?: Look<WorkspaceDefinition>,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .selectFrom('workspaces')
      .select('definition')
      .where('id', '=', id)
      .where('deleted_at', 'is', null)
      .forUpdate()
      .executeTakeFirst()
    if (row === undefined) return false
    look?.(row.definition)
    await tx.updateTable('workspaces').set(markOf(deletion)).where('id', '=', id).execute()
    // What a disk has kept is of its person and image: other workspaces open it, too.
    if (deletion.discards) {
      await discardAtEnd(tx, sql`workspace_id = ${id} and mode = 'local-vm'`)
      await oweDiscards(tx, sql`l.scope = ${id}`)
    }
    await tellIn(tx, { topic: 'workspaces' })
    await tellIn(tx, { topic: 'deleted' })
    return true
  })
}

export async function isWorkspaceDeleted(db: Db, id: string): Promise<boolean> {
  const row = await db
    .selectFrom('workspaces')
    .select('id')
    .where('id', '=', id)
    .where('deleted_at', 'is not', null)
    .executeTakeFirst()
  return row !== undefined
}

/** What of a person is elsewhere than in copies. */
export interface Belongings {
  /** How many are the person's. */
  readonly endpoints: number
  /** On which the person ever had a session, by name. */
  readonly hosts: readonly { readonly name: string; readonly hearsDiscards: boolean }[]
}

export async function belongingsOf(db: Db, personId: string): Promise<Belongings> {
  const { endpoints } = await db
    .selectFrom('agents')
    .select((eb) => eb.fn.countAll<string>().as('endpoints'))
    .where('owner_id', '=', personId)
    .where('revoked_at', 'is', null)
    .executeTakeFirstOrThrow()
  const hosts = await db
    .selectFrom('agents as m')
    .select(['m.name', hearsDiscards.as('hearsDiscards')])
    .where('m.kind', '=', 'host')
    .where((eb) =>
      eb.exists(
        eb
          .selectFrom('sessions as s')
          .select('s.id')
          .whereRef('s.host_id', '=', 'm.id')
          .where('s.person_id', '=', personId),
      ),
    )
    .orderBy('m.name')
    .execute()
  return { endpoints: Number(endpoints), hosts }
}

function markOf({ at, by, discards }: Deletion) {
  return { deleted_at: at, deleted_by: by, discards }
}

/** Endpoints are told what becomes of what was written by the lease, and the lease goes by its session's obligations. */
async function discardAtEnd(tx: Transaction<Database>, which: RawBuilder<unknown>): Promise<void> {
  await sql`update sessions set obligations = obligations || '{"overlay": "discard"}'
    where ${which} and state <> 'ended' and endpoint_id is not null`.execute(tx)
  await sql`update leases set overlay = 'discard' where ${which} and state in (${sql.join(openLeaseStates)})`.execute(
    tx,
  )
}

/** What of a deletion is left to be done. */
export interface Undone {
  readonly id: string
  readonly deleted: 'person' | 'workspace'
  readonly deletedBy: string
}

const mostAtOnce = 500

/** Sessions that have not ended although their person or workspace was deleted; the oldest first, not more than are ended in a moment. */
export async function sessionsOfDeleted(db: Db): Promise<readonly Undone[]> {
  const { rows } = await sql<Undone>`
    select s.id, coalesce(p.deleted_by, w.deleted_by) as "deletedBy",
      case when p.deleted_at is null then 'workspace' else 'person' end as deleted
    from sessions s join people p on p.id = s.person_id join workspaces w on w.id = s.workspace_id
    where s.state <> 'ended' and (p.deleted_at is not null or w.deleted_at is not null)
    order by s.started_at limit ${mostAtOnce}`.execute(db)
  return rows
}

/** Replicas that are to be discarded: of a person all, of a workspace those of its virtual machines. */
export async function replicasOfDeleted(db: Db): Promise<readonly Undone[]> {
  const { rows } = await sql<Undone>`
    select r.id, case when p.discards then p.deleted_by else w.deleted_by end as "deletedBy",
      case when p.discards then 'person' else 'workspace' end as deleted
    from replicas r join people p on p.id = r.person_id left join workspaces w on w.id = r.scope
    where p.discards or w.discards
    order by r.made_at limit ${mostAtOnce}`.execute(db)
  return rows
}

/** Machines that became somebody's while they were deleted are nobody's. */
export async function disownDeleted(db: Db): Promise<void> {
  await db
    .updateTable('agents')
    .set({ owner_id: null })
    .where('owner_id', 'in', (eb) =>
      eb.selectFrom('people').select('people.id').where('people.deleted_at', 'is not', null),
    )
    .execute()
}
