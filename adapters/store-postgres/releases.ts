import { sql, type Transaction } from 'kysely'
import type { Repository } from '#core/release/index.ts'
import type { ChannelRow, Database, ImageRow, ProposalRow, ReleaseRow } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

export async function insertImage(tx: Transaction<Database>, image: ImageRow): Promise<void> {
  await tx
    .insertInto('images')
    .values({ ...image, comparison: image.comparison && JSON.stringify(image.comparison) })
    .execute()
}

export async function imageOf(db: Queries, name: string, version: string): Promise<ImageRow | undefined> {
  return db
    .selectFrom('images')
    .selectAll()
    .where('name', '=', name)
    .where('version', '=', version)
    .executeTakeFirst()
}

/** Without their manifests, the newest first. */
export async function listImages(db: Queries): Promise<readonly Omit<ImageRow, 'manifest'>[]> {
  return db
    .selectFrom('images')
    .select(['name', 'version', 'manifest_digest', 'store', 'imported_by', 'imported_at', 'comparison'])
    .orderBy('imported_at', 'desc')
    .limit(5_000)
    .execute()
}

/** Those of which nothing was ever released, without their manifests, the newest first. */
export async function listUnreleasedImages(db: Queries): Promise<readonly Omit<ImageRow, 'manifest'>[]> {
  const released = await db.selectFrom('releases').select(['name', 'content_version']).execute()
  const known = new Set(released.map(({ name, content_version }) => `${name}:${content_version}`))
  return (await listImages(db)).filter(({ name, version }) => !known.has(`${name}:${version}`))
}

/** Nodes take turns with whatever changes releases; readers do not wait. Ends with the transaction. */
export async function lockReleases(tx: Transaction<Database>): Promise<void> {
  await sql`lock table release_proposals in share row exclusive mode`.execute(tx)
}

/** What is published now; undefined before the first root. */
export async function readRepository(db: Queries): Promise<Repository | undefined> {
  const rows = await db
    .selectFrom('release_metadata')
    .distinctOn('role')
    .select(['role', 'bytes'])
    .orderBy('role')
    .orderBy('version', 'desc')
    .execute()
  const newest = new Map<string, Uint8Array>(rows.map(({ role, bytes }) => [role, bytes]))
  const take = (role: string): Uint8Array | undefined => {
    const bytes = newest.get(role)
    newest.delete(role)
    return bytes
  }
  const [root, targets, snapshot, timestamp] = ['root', 'targets', 'snapshot', 'timestamp'].map(take)
  return root === undefined ? undefined : { root, targets, snapshot, timestamp, families: newest }
}

/** @param version undefined for the newest */
export async function readMetadata(
  db: Queries,
  role: string,
  version: number | undefined,
): Promise<Uint8Array | undefined> {
  const rows = db.selectFrom('release_metadata').select('bytes').where('role', '=', role)
  const wanted = version === undefined ? rows : rows.where('version', '=', version)
  return (await wanted.orderBy('version', 'desc').limit(1).executeTakeFirst())?.bytes
}

/** Publishes a version of a role. Of the timestamp only the newest is kept: nothing else is ever asked for. */
export async function insertMetadata(
  tx: Transaction<Database>,
  metadata: {
    readonly role: string
    readonly version: number
    readonly bytes: Uint8Array
    readonly at: Date
  },
): Promise<void> {
  const { role, version, bytes, at } = metadata
  await tx
    .insertInto('release_metadata')
    .values({ role, version, bytes: Buffer.from(bytes), published_at: at })
    .execute()
  if (role === 'timestamp') {
    await tx.deleteFrom('release_metadata').where('role', '=', role).where('version', '<', version).execute()
  }
}

export async function listProposals(db: Queries): Promise<readonly ProposalRow[]> {
  return db.selectFrom('release_proposals').selectAll().orderBy('role').execute()
}

export async function proposalOf(db: Queries, role: string): Promise<ProposalRow | undefined> {
  return db.selectFrom('release_proposals').selectAll().where('role', '=', role).executeTakeFirst()
}

/** False when something is proposed for the role already. */
export async function insertProposal(db: Queries, proposal: ProposalRow): Promise<boolean> {
  const row = await db
    .insertInto('release_proposals')
    .values(proposal)
    .onConflict((conflict) => conflict.column('role').doNothing())
    .returning('role')
    .executeTakeFirst()
  return row !== undefined
}

/** Replaces the bytes of a proposal by the same with more signatures. */
export async function updateProposal(
  tx: Transaction<Database>,
  role: string,
  bytes: Uint8Array,
): Promise<void> {
  await tx
    .updateTable('release_proposals')
    .set({ bytes: Buffer.from(bytes) })
    .where('role', '=', role)
    .execute()
}

/** False when there was none. */
export async function deleteProposal(db: Queries, role: string): Promise<boolean> {
  const row = await db
    .deleteFrom('release_proposals')
    .where('role', '=', role)
    .returning('role')
    .executeTakeFirst()
  return row !== undefined
}

/** Makes the table say what an image's published metadata says: new releases are added, missing ones retired. */
export async function writeReleases(
  tx: Transaction<Database>,
  name: string,
  releases: readonly Omit<ReleaseRow, 'name' | 'published_at' | 'retired_at'>[],
  at: Date,
): Promise<void> {
  const versions = releases.map(({ version }) => version)
  const rows = releases.map((release) => ({ ...release, name, published_at: at, retired_at: null }))
  if (rows.length > 0) {
    await tx
      .insertInto('releases')
      .values(rows)
      .onConflict((conflict) => conflict.columns(['name', 'version']).doNothing())
      .execute()
  }
  await tx
    .updateTable('releases')
    .set({ retired_at: at })
    .where('name', '=', name)
    .where('retired_at', 'is', null)
    .where((eb) => eb.not(eb('version', '=', eb.fn.any(eb.val(versions)))))
    .execute()
}

/** Releases that are not retired, the newest first. */
export async function listReleaseRows(db: Queries, name?: string): Promise<readonly ReleaseRow[]> {
  const rows = db.selectFrom('releases').selectAll().where('retired_at', 'is', null)
  const wanted = name === undefined ? rows : rows.where('name', '=', name)
  return wanted.orderBy('name').orderBy('counter', 'desc').execute()
}

/** Undefined also when it is retired. */
export async function releaseRow(
  db: Queries,
  name: string,
  version: string,
): Promise<ReleaseRow | undefined> {
  return db
    .selectFrom('releases')
    .selectAll()
    .where('name', '=', name)
    .where('version', '=', version)
    .where('retired_at', 'is', null)
    .executeTakeFirst()
}

/** Also of a release that is retired; undefined when there never was one. */
export async function counterOf(db: Queries, name: string, version: string): Promise<number | undefined> {
  const row = await db
    .selectFrom('releases')
    .select('counter')
    .where('name', '=', name)
    .where('version', '=', version)
    .executeTakeFirst()
  return row?.counter
}

export async function listChannels(db: Queries): Promise<readonly ChannelRow[]> {
  return db.selectFrom('channels').selectAll().orderBy('name').orderBy('channel').execute()
}

export async function channelOf(db: Queries, name: string, channel: string): Promise<ChannelRow | undefined> {
  return db
    .selectFrom('channels')
    .selectAll()
    .where('name', '=', name)
    .where('channel', '=', channel)
    .executeTakeFirst()
}

export async function writeChannel(
  tx: Transaction<Database>,
  { name, channel, current_version, next_version, wave, changed_at }: ChannelRow,
): Promise<void> {
  const state = {
    current_version,
    next_version,
    wave: wave === null ? null : JSON.stringify(wave),
    changed_at,
  }
  await tx
    .insertInto('channels')
    .values({ name, channel, ...state })
    .onConflict((conflict) => conflict.columns(['name', 'channel']).doUpdateSet(state))
    .execute()
}

/** The newest release of an image that an endpoint was given the key for, be it retired by now. */
export async function newestLeased(
  db: Queries,
  endpointId: string,
  name: string,
): Promise<ReleaseRow | undefined> {
  return db
    .selectFrom('releases')
    .selectAll('releases')
    .innerJoin('leases', (join) =>
      join.onRef('leases.image', '=', 'releases.name').onRef('leases.version', '=', 'releases.version'),
    )
    .where('leases.endpoint_id', '=', endpointId)
    .where('leases.image', '=', name)
    .where('leases.key_released_at', 'is not', null)
    .orderBy('releases.counter', 'desc')
    .limit(1)
    .executeTakeFirst()
}
