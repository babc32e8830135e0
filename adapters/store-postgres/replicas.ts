import { sql } from 'kysely'
import { type CopyPart, isCopyOf, textOf } from './data.ts'
import type { NewReplica, ReplicaRow } from './replicas-table.ts'
import type { LeaseRow, PersonRow, WorkspaceRow } from './schema.ts'
import type { Db } from './store.ts'

/** What the site knows of the copies in the data centre of what is written on endpoints. */

export type ReplicaKey = Pick<ReplicaRow, 'person_id' | 'scope' | 'image' | 'version'>

/** What a commit makes of a replica. */
export type CommittedReplica = Pick<ReplicaRow, 'manifest' | 'lease_id'> & {
  readonly sequence: number
  readonly bytes: number
  readonly committed_at: Date
}

export async function replicaOf(db: Db, key: ReplicaKey): Promise<ReplicaRow | undefined> {
  return db
    .selectFrom('replicas')
    .selectAll()
    .where('person_id', '=', key.person_id)
    .where('scope', '=', key.scope)
    .where('image', '=', key.image)
    .where('version', '=', key.version)
    .executeTakeFirst()
}

/** The one that there is, or else this. */
export async function beginReplica(db: Db, replica: NewReplica): Promise<ReplicaRow | undefined> {
  await db
    .insertInto('replicas')
    .values(replica)
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  return replicaOf(db, replica)
}

/** Takes room for bytes that are about to be stored. @returns false when it would hold more than `most` */
export async function reserveReplicaRoom(db: Db, id: string, bytes: number, most: number): Promise<boolean> {
  const row = await db
    .updateTable('replicas')
    .set({ stored: sql<string>`stored + ${bytes}` })
    .where('id', '=', id)
    .where(sql<boolean>`stored + ${bytes} <= ${most}`)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/**
 * Moves a replica to its next state. Of several who try at once each sees what the one before has made.
 *
 * @param next what it becomes; what it throws leaves the replica as it is. It must not wait for the database
 * @returns false when there is no such replica
 */
export async function commitReplica(
  db: Db,
  id: string,
  next: (row: ReplicaRow) => Promise<CommittedReplica>,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .selectFrom('replicas')
      .selectAll()
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst()
    if (row === undefined) return false
    await tx
      .updateTable('replicas')
      .set(await next(row))
      .where('id', '=', id)
      .execute()
    return true
  })
}

/**
 * Has what is stored of a replica tidied up, while nobody commits.
 *
 * @param tidy how many bytes are left
 */
export async function tidyReplica(
  db: Db,
  id: string,
  tidy: (row: ReplicaRow) => Promise<number>,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const query = tx.selectFrom('replicas').selectAll().where('id', '=', id).forUpdate().skipLocked()
    const row = await query.executeTakeFirst()
    if (row === undefined) return
    await tx
      .updateTable('replicas')
      .set({ stored: String(await tidy(row)) })
      .where('id', '=', id)
      .execute()
  })
}

export async function replicaById(db: Db, id: string): Promise<ReplicaRow | undefined> {
  return db.selectFrom('replicas').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function allReplicaIds(db: Db): Promise<readonly string[]> {
  const rows = await db.selectFrom('replicas').select('id').execute()
  return rows.map(({ id }) => id)
}

/**
 * Removes a replica, once, while nobody commits.
 *
 * @param remove tells of it and takes what is stored. Whoever dies in the middle leaves the replica to be removed again
 * @param sequence of the state that it must have still; then whoever is at it is not waited for
 * @returns false when it was removed before, or left
 */
export async function deleteReplica(
  db: Db,
  id: string,
  remove: () => Promise<void>,
  sequence?: string,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const query = tx.selectFrom('replicas').select('id').where('id', '=', id).forUpdate()
    const row = await (sequence === undefined
      ? query
      : query.where('sequence', '=', sequence).skipLocked()
    ).executeTakeFirst()
    if (row === undefined) return false
    await remove()
    await tx.deleteFrom('replicas').where('id', '=', id).execute()
    return true
  })
}

/**
 * Those whose overlay is gone from the endpoint that sent it last: a lease has ended there, in time and after that, which opened it and was to
 * discard it in the end.
 *
 * @param personId absent: everybody's
 */
export async function discardedReplicas(db: Db, personId?: string): Promise<readonly ReplicaRow[]> {
  let query = db
    .selectFrom('replicas as r')
    .innerJoin('leases as l', 'l.id', 'r.lease_id')
    .selectAll('r')
    .where(sql<boolean>`exists (
      select from leases d left join releases v on (v.name, v.version) = (d.image, d.version)
      where (d.endpoint_id, d.person_id, d.image, d.mode) = (l.endpoint_id, r.person_id, r.image, l.mode)
        and coalesce(v.content_version, d.version) = r.version and r.scope in ('', d.workspace_id)
        and d.overlay_at_start <> 'discard' and d.overlay = 'discard' and d.state = 'ended'
        and d.ended_at <= d.expires_at and d.ended_at >= coalesce(r.committed_at, r.made_at))`)
  if (personId !== undefined) query = query.where('r.person_id', '=', personId)
  return query.execute()
}

/**
 * Those that nothing was written to since `before`, each with a later one of another version of its image that there was by then already.
 */
export async function olderReplicas(
  db: Db,
  before: Date,
): Promise<readonly { readonly older: ReplicaRow; readonly newer: ReplicaRow }[]> {
  const rows = await db
    .selectFrom('replicas as r')
    .innerJoinLateral(
      (eb) =>
        eb
          .selectFrom('replicas as n')
          .select('n.id')
          .whereRef('n.person_id', '=', 'r.person_id')
          .whereRef('n.scope', '=', 'r.scope')
          .whereRef('n.image', '=', 'r.image')
          .whereRef('n.committed_at', '>', 'r.committed_at')
          .where('n.made_at', '<', before)
          .orderBy('n.committed_at', 'desc')
          .limit(1)
          .as('later'),
      (join) => join.onTrue(),
    )
    .select(['r.id', 'later.id as newer'])
    .where('r.committed_at', '<', before)
    .execute()
  const pairs = await Promise.all(
    rows.map(async ({ id, newer }) => [await replicaById(db, id), await replicaById(db, newer)] as const),
  )
  return pairs.flatMap(([older, newer]) => (older && newer ? [{ older, newer }] : []))
}

/** Writes down that the log was told. */
export async function noteReplicaUse(
  db: Db,
  leaseId: string,
  what: 'replica_kept_at' | 'replica_read_at',
  at: Date,
): Promise<void> {
  await db
    .updateTable('leases')
    .set({ [what]: at })
    .where('id', '=', leaseId)
    .execute()
}

export interface ReplicaCopyRow
  extends ReplicaRow,
    Pick<LeaseRow, 'session_id' | 'mode' | 'manifest_digest'> {
  readonly person_login: string
  readonly person_name: string
  readonly person_deleted_at: PersonRow['deleted_at']
  readonly workspace_id: string
  readonly workspace: WorkspaceRow['definition']
  readonly workspace_deleted_at: WorkspaceRow['deleted_at']
  /** From where it came last. */
  readonly endpoint_id: string
  readonly endpoint_name: string
}

/** Those that hold something, in the order of their ids, behind the one with the id `after`. */
export async function replicaCopies(
  db: Db,
  most: number,
  { after = '', ...about }: CopyPart = {},
): Promise<readonly ReplicaCopyRow[]> {
  return db
    .selectFrom('replicas as r')
    .innerJoin('leases as l', 'l.id', 'r.lease_id')
    .innerJoin('people as p', 'p.id', 'r.person_id')
    .innerJoin('workspaces as w', 'w.id', 'l.workspace_id')
    .innerJoin('agents as m', 'm.id', 'l.endpoint_id')
    .selectAll('r')
    .select(['l.session_id', 'l.mode', 'l.manifest_digest', 'l.workspace_id', 'l.endpoint_id'])
    .select(['p.login as person_login', 'p.name as person_name', 'w.definition as workspace'])
    .select(['p.deleted_at as person_deleted_at', 'w.deleted_at as workspace_deleted_at'])
    .select('m.name as endpoint_name')
    .where('r.manifest', 'is not', null)
    .where(isCopyOf(about, 'l'))
    .where(textOf('r.id'), '>', after)
    .orderBy(textOf('r.id'))
    .limit(most)
    .execute()
}
