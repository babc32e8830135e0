import { hash, randomUUID } from 'node:crypto'
import {
  allReplicaIds,
  beginReplica,
  commitReplica,
  deleteReplica,
  type LeaseDetail,
  leaseById,
  noteReplicaUse,
  type ReplicaKey,
  type ReplicaRow,
  releaseRow,
  replicaById,
  replicaOf,
  reserveReplicaRoom,
  tidyReplica,
} from '#adapters/store-postgres/index.ts'
import { overlayKeyOf } from '#core/artifact/image-key.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import {
  decodeManifest,
  isSealedBy,
  ReplicaError,
  ReplicaKeys,
  type ReplicaManifest,
} from '#core/replica/index.ts'
import { withImageKey } from '../releases/image-keys.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'

/**
 * Copies in the data centre of what is written on endpoints. An endpoint uses one under its lease, and only while the
 * decision says so. The site keeps and counts what is in it; to read it would take the image's key, which it has encrypted.
 */

/** What nobody has named for so long is collected; an endpoint commits what it sent sooner than that. */
const collectAfterMs = 60 * 60_000
const MiB = 1_048_576
const statsAtOnce = 64

/**
 * A lease under which its endpoint may use a replica now.
 *
 * @throws {SiteError} NOT_FOUND, for whatever reason not
 */
export async function replicaLease(site: Site, endpointId: string, leaseId: string): Promise<LeaseDetail> {
  const lease = await leaseById(site.store.db, leaseId)
  const isGood =
    lease !== undefined &&
    lease.endpoint_id === endpointId &&
    (lease.state === 'offered' || lease.state === 'held') &&
    lease.key_released_at !== null &&
    lease.expires_at.getTime() > site.now() &&
    lease.obligations.overlay === 'replicate'
  if (!isGood) throw notFound('lease that a replica can be used under')
  return lease
}

/**
 * Keeps a piece. That what is written is copied to the data centre is in the log first (I7).
 *
 * @throws {SiteError} REPLICA_TOO_LARGE
 */
export async function keepPiece(
  site: Site,
  lease: LeaseDetail,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const row = await begun(site, lease)
  await tell(site, lease, row, 'replica-kept')
  const isThere = (await site.replicas.pieceBytes(row.id, name)) !== undefined
  // What is there and what comes next are both kept until that is committed.
  const most = 2 * limitBytes(site)
  if (!isThere && !(await reserveReplicaRoom(site.store.db, row.id, bytes.length, most))) throw tooLarge(site)
  await site.replicas.putPiece(row.id, name, bytes)
}

/**
 * A piece as it was stored. That an endpoint reads is in the log first (I7).
 *
 * @throws {SiteError} NOT_FOUND, REPLICA_INCOMPLETE
 */
export async function readPiece(site: Site, lease: LeaseDetail, name: string): Promise<Uint8Array> {
  const row = await replicaOf(site.store.db, await keyOf(site, lease))
  if (row === undefined) throw notFound('piece')
  await tell(site, lease, row, 'replica-read')
  const piece = await site.replicas.piece(row.id, name)
  if (piece === undefined)
    throw new SiteError('REPLICA_INCOMPLETE', 'a piece is not where it was put', {
      remedy: 'Ask an admin to put the folder of replicas back.',
    })
  return piece
}

/** What a replica is made of now; undefined when there is none. @throws {SiteError} SITE_BROKEN when its manifest is gone */
export async function readReplicaManifest(site: Site, lease: LeaseDetail): Promise<Uint8Array | undefined> {
  const row = await replicaOf(site.store.db, await keyOf(site, lease))
  if (row?.manifest == null) return undefined
  const bytes = await site.replicas.manifest(row.id, row.manifest)
  if (bytes !== undefined) return bytes
  throw new SiteError('SITE_BROKEN', `the manifest of replica ${row.id} is not where it was put`, {
    remedy: 'Put the folder of replicas back, or remove this one on the page Data.',
  })
}

/**
 * Makes what a manifest names the replica's state: all of it or nothing. INVARIANT: only who holds the image's key, and
 * so a lease, can do that; a copied certificate is not enough.
 *
 * @param previous sequence of the state that it follows; 0: there is none
 * @throws {SiteError} REPLICA_MALFORMED, REPLICA_CONFLICT, REPLICA_INCOMPLETE, REPLICA_TOO_LARGE
 */
export async function commitManifest(
  site: Site,
  lease: LeaseDetail,
  previous: number,
  bytes: Uint8Array,
): Promise<void> {
  const { db } = site.store
  const manifest = await verified(site, lease, bytes)
  const row = await begun(site, lease)
  requireNext(row, previous, manifest)
  const size = await sizeOf(site, row, manifest)
  if (size > limitBytes(site)) throw tooLarge(site)
  await tell(site, lease, row, 'replica-kept')
  const digest = hash('sha256', bytes)
  await site.replicas.putManifest(row.id, digest, bytes)
  const isThere = await commitReplica(db, row.id, async (now) => {
    requireNext(now, previous, manifest)
    const { sequence } = manifest
    return {
      sequence,
      manifest: digest,
      bytes: size,
      lease_id: lease.id,
      committed_at: new Date(site.now()),
    }
  })
  if (!isThere) throw conflict('it was removed')
}

/**
 * Removes what the data centre has of an overlay; what is on endpoints stays there.
 *
 * @param sequence see `deleteReplica`
 * @returns false when it is gone already, or was left
 */
export async function removeReplica(
  site: Site,
  id: string,
  reason: string,
  actor: AuditActor,
  sequence?: string,
): Promise<boolean> {
  const { db } = site.store
  const row = await replicaById(db, id)
  const lease = row && (await leaseById(db, row.lease_id))
  if (row === undefined || lease === undefined) return false
  const remove = async (): Promise<void> => {
    await site.audit.record('replica-removed', actor, id, { ...aboutReplica(lease, row), reason })
    await site.replicas.remove(id)
  }
  return deleteReplica(db, id, remove, sequence)
}

/** Removes pieces that no state names, and what is left of replicas that are no more. */
export async function tidyReplicas(site: Pick<Site, 'store' | 'replicas' | 'now'>): Promise<void> {
  const { db } = site.store
  const before = new Date(site.now() - collectAfterMs)
  // In this order: what is made meanwhile is not idle.
  const idle = await site.replicas.idle(before)
  const known = await allReplicaIds(db)
  for (const id of known) {
    await tidyReplica(db, id, async (row) => {
      const names = await namesOf(site, row)
      if (names === undefined) return Number(row.stored)
      return site.replicas.collect(
        id,
        { names: new Set(names.values()), manifest: row.manifest ?? undefined },
        before,
      )
    })
  }
  for (const id of idle) if (!known.includes(id)) await site.replicas.remove(id)
}

/** Whether a replica can be opened: its manifest is what was committed, and each piece that it names is there. */
export async function isReplicaWhole(site: Site, row: ReplicaRow): Promise<boolean> {
  const lease = await leaseById(site.store.db, row.lease_id)
  const bytes = row.manifest === null ? undefined : await site.replicas.manifest(row.id, row.manifest)
  if (lease === undefined || bytes === undefined) return false
  try {
    const { names } = await verified(site, lease, bytes)
    return !(await sizesOf(site, row.id, [...new Set(names.values())])).includes(undefined)
  } catch (error) {
    if (error instanceof SiteError && error.code === 'REPLICA_MALFORMED') return false
    throw error
  }
}

/** @throws {SiteError} REPLICA_MALFORMED */
async function verified(site: Site, lease: LeaseDetail, bytes: Uint8Array): Promise<ReplicaManifest> {
  const { person_id, image, version, scope } = await keyOf(site, lease)
  const manifest = decoded(bytes)
  const { base } = manifest
  const isSealed = await withImageKey(site, image, (imageKey) => {
    const overlayKey = overlayKeyOf(imageKey)
    const keys = new ReplicaKeys(overlayKey, { personId: person_id, scope, base })
    const isOk = isSealedBy(keys, bytes)
    keys.wipe()
    overlayKey.fill(0)
    return isOk
  })
  if (isSealed && base.startsWith(`${image}:${version} `)) return manifest
  throw new SiteError('REPLICA_MALFORMED', 'expected a manifest that was made under the key of this lease')
}

function decoded(bytes: Uint8Array): ReplicaManifest {
  try {
    return decodeManifest(bytes)
  } catch (cause) {
    if (!(cause instanceof ReplicaError)) throw cause
    throw new SiteError('REPLICA_MALFORMED', cause.message, { cause })
  }
}

function requireNext(row: ReplicaRow, previous: number, { sequence }: ReplicaManifest): void {
  const current = Number(row.sequence)
  if (current !== previous || sequence <= previous)
    throw conflict(`expected what follows state ${current}, got state ${sequence} after ${previous}`)
}

/**
 * What the pieces of a manifest take. Those of the state before it are there: they are not collected.
 *
 * @throws {SiteError} REPLICA_INCOMPLETE
 */
async function sizeOf(site: Site, row: ReplicaRow, { names }: ReplicaManifest): Promise<number> {
  const known = await namesOf(site, row)
  const before = new Set(known?.values())
  const after = new Set(names.values())
  const added = await sizesOf(site, row.id, [...after.difference(before)])
  const missing = added.filter((size) => size === undefined).length
  if (missing > 0)
    throw new SiteError('REPLICA_INCOMPLETE', `${missing} pieces that the manifest names were not sent`, {
      remedy: 'They are sent again the next time.',
    })
  const removed = await sizesOf(site, row.id, [...before.difference(after)])
  return Math.max(0, (known === undefined ? 0 : Number(row.bytes)) + sum(added) - sum(removed))
}

async function sizesOf(
  site: Site,
  replica: string,
  names: readonly string[],
): Promise<readonly (number | undefined)[]> {
  const sizes: (number | undefined)[] = []
  for (let at = 0; at < names.length; at += statsAtOnce) {
    const some = names.slice(at, at + statsAtOnce)
    sizes.push(...(await Promise.all(some.map((name) => site.replicas.pieceBytes(replica, name)))))
  }
  return sizes
}

/** Of the state that a replica is in; undefined when its manifest cannot be read. */
async function namesOf(
  site: Pick<Site, 'replicas'>,
  row: ReplicaRow,
): Promise<ReadonlyMap<number, string> | undefined> {
  if (row.manifest === null) return new Map()
  const bytes = await site.replicas.manifest(row.id, row.manifest)
  return bytes === undefined ? undefined : decodeManifest(bytes).names
}

async function begun(site: Site, lease: LeaseDetail): Promise<ReplicaRow> {
  const key = await keyOf(site, lease)
  const made = { ...key, id: randomUUID(), lease_id: lease.id, made_at: new Date(site.now()) }
  const row = (await replicaOf(site.store.db, key)) ?? (await beginReplica(site.store.db, made))
  if (row === undefined) throw conflict('it was removed')
  return row
}

/** One for each overlay that an endpoint would open: VMs have theirs by workspace, disks by image alone. */
async function keyOf(site: Site, lease: LeaseDetail): Promise<ReplicaKey> {
  const { person_id, workspace_id, mode, image } = lease
  const release = await releaseRow(site.store.db, image, lease.version)
  const version = release?.content_version ?? lease.version
  return { person_id, scope: mode === 'local-vm' ? workspace_id : '', image, version }
}

/** What the log is being told: of the pieces that come at once only one waits for it to be written. */
const telling = new Map<string, Promise<void>>()

/** For each lease, once in general, at least once for certain. INVARIANT I7: before it is. */
async function tell(
  site: Site,
  lease: LeaseDetail,
  row: ReplicaRow,
  kind: 'replica-kept' | 'replica-read',
): Promise<void> {
  const column = kind === 'replica-kept' ? 'replica_kept_at' : 'replica_read_at'
  if (lease[column] !== null) return
  const key = `${lease.id} ${kind}`
  const told = telling.get(key) ?? record(site, lease, row, kind).finally(() => telling.delete(key))
  telling.set(key, told)
  await told
}

async function record(
  site: Site,
  lease: LeaseDetail,
  row: ReplicaRow,
  kind: 'replica-kept' | 'replica-read',
): Promise<void> {
  const actor = { type: 'endpoint', id: lease.endpoint_id } as const
  await site.audit.record(kind, actor, row.id, {
    ...aboutReplica(lease, row),
    sequence: Number(row.sequence),
  })
  const column = kind === 'replica-kept' ? 'replica_kept_at' : 'replica_read_at'
  await noteReplicaUse(site.store.db, lease.id, column, new Date(site.now()))
}

function aboutReplica(lease: LeaseDetail, { image, version }: ReplicaRow) {
  const { id, person_id, endpoint_id, session_id, workspace_id } = lease
  return {
    person: person_id,
    endpoint: endpoint_id,
    session: session_id,
    workspace: workspace_id,
    lease: id,
    image,
    version,
  }
}

function limitBytes({ config }: Site): number {
  return config.replicas.limitMiB * MiB
}

function tooLarge(site: Site): SiteError {
  return new SiteError(
    'REPLICA_TOO_LARGE',
    `expected at most ${site.config.replicas.limitMiB} MiB for what one person writes on one image`,
    { remedy: 'Ask an admin for a higher limit (`replicas.limitMiB`).' },
  )
}

function conflict(why: string): SiteError {
  return new SiteError(
    'REPLICA_CONFLICT',
    `the copy in the data centre is not in the state that was followed: ${why}`,
    {
      remedy: 'Another device may have gone on with it. Open the workspace again.',
    },
  )
}

function sum(sizes: readonly (number | undefined)[]): number {
  return sizes.reduce<number>((total, size = 0) => total + size, 0)
}
