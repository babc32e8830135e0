import { type Selectable, sql, type Transaction } from 'kysely'
import { growTree } from '#core/audit/append-tree.ts'
import { signCheckpoint } from '#core/audit/checkpoint.ts'
import { decodeFrontier, encodeFrontier, type Frontier, type Hash, treeHash } from '#core/audit/merkle.ts'
import type { NoteSigner } from '#core/audit/note.ts'
import { proveInclusion, type Subtree } from '#core/audit/proof.ts'
import { encodeEntryBundle, encodeHashTile, TILE_WIDTH, type Tile } from '#core/audit/tiles.ts'
import type { EntryProof } from '#core/audit/tlog-proof.ts'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'
import { indexEntries } from './timeline.ts'

/**
 * Appends a batch of encoded entries and signs the new checkpoint: one transaction, so one flush for the batch.
 * Nodes take turns on the head's row; whoever holds it sees the tree as it is.
 *
 * @returns the index of each entry, in order
 */
export async function appendAudit(
  db: Db,
  signer: NoteSigner,
  batch: readonly Uint8Array[],
): Promise<readonly bigint[]> {
  return db.transaction().execute(async (tx) => {
    const { frontier, isIndexed } = await lockHead(tx)
    const tree = growTree(frontier, batch)
    await insertBytes(tx, 'audit_entries', 'entry', tree.firstIndex, batch)
    await insertHashes(tx, 0, tree.firstIndex, tree.leafHashes)
    // What was left out is made up for in order: see `catchUpIndex`.
    if (isIndexed) await indexEntries(tx, tree.firstIndex, batch)
    await tx
      .updateTable('audit_head')
      .set({
        size: String(tree.size),
        ...(isIndexed && { indexed: String(tree.size) }),
        frontier: Buffer.from(encodeFrontier(tree.frontier)),
        checkpoint: signCheckpoint({ size: tree.size, root: tree.root }, signer),
      })
      .execute()
    return batch.map((_, offset) => tree.firstIndex + BigInt(offset))
  })
}

/** The latest signed checkpoint; undefined before the first entry. */
export async function readCheckpoint(db: Db): Promise<string | undefined> {
  const head = await db.selectFrom('audit_head').select('checkpoint').executeTakeFirst()
  return head?.checkpoint
}

/**
 * Proves that the log has an entry, by the latest checkpoint.
 *
 * @returns undefined when the log does not reach as far
 */
export async function proveEntry(db: Db, index: bigint): Promise<EntryProof | undefined> {
  const head = await db.selectFrom('audit_head').select(['size', 'checkpoint']).executeTakeFirst()
  const size = BigInt(head?.size ?? 0)
  if (head === undefined || index >= size) return undefined
  const { entry } = await db
    .selectFrom('audit_entries')
    .select('entry')
    .where('index', '=', String(index))
    .executeTakeFirstOrThrow()
  // What a checkpoint covers never changes, so that it may be read after it.
  const proof = await proveInclusion(index, size, (subtrees) => readSubtrees(db, subtrees))
  return { index, entry, proof, checkpoint: head.checkpoint }
}

/**
 * Level L keeps the roots of every 256^L entries: what lies between is hashed from the ones below. Each range is looked up by itself: all
 * hashes that there are would be read for a join.
 */
async function readSubtrees(db: Db, subtrees: readonly Subtree[]): Promise<readonly Hash[]> {
  const ranges = subtrees.map(({ height, index }) => {
    const width = 1n << BigInt(height % tileBits)
    return { level: Math.floor(height / tileBits), first: index * width, end: (index + 1n) * width }
  })
  const { rows } = await sql<{ at: string; hash: Buffer }>`
    select r.at, h.hash
    from unnest(${ranges.map(({ level }) => level)}::smallint[], ${ranges.map(({ first }) => String(first))}::bigint[],
      ${ranges.map(({ end }) => String(end))}::bigint[]) with ordinality as r(level, first, past, at)
    cross join lateral (select index, hash from audit_hashes a where a.level = r.level and a.index >= r.first and a.index < r.past
      order by index limit ${TILE_WIDTH}) h
    order by r.at, h.index`.execute(db)
  return ranges.map((_, at) =>
    treeHash(rows.filter((row) => Number(row.at) === at + 1).map(({ hash }) => hash)),
  )
}

/** A tile is a tree of 2^8 hashes. */
const tileBits = 8

/** PostgreSQL's bigint; no log reaches as far. */
const largestIndex = 2n ** 63n - 1n

/** The bytes of a tile, undefined when the log does not reach as far. */
export async function readTile(db: Db, tile: Tile): Promise<Uint8Array | undefined> {
  const first = tile.index * BigInt(TILE_WIDTH)
  if (first + BigInt(tile.width) > largestIndex) return undefined
  const rows = await rowsOf(db, tile, first)
  if (rows.length < tile.width) return undefined
  return tile.level === 'entries' ? encodeEntryBundle(rows) : encodeHashTile(0, rows)
}

async function rowsOf(db: Db, tile: Tile, first: bigint): Promise<readonly Uint8Array[]> {
  const end = String(first + BigInt(tile.width))
  if (tile.level === 'entries') {
    const rows = await db
      .selectFrom('audit_entries')
      .select('entry')
      .where('index', '>=', String(first))
      .where('index', '<', end)
      .orderBy('index')
      .execute()
    return rows.map((row) => row.entry)
  }
  const rows = await db
    .selectFrom('audit_hashes')
    .select('hash')
    .where('level', '=', tile.level)
    .where('index', '>=', String(first))
    .where('index', '<', end)
    .orderBy('index')
    .execute()
  return rows.map((row) => row.hash)
}

interface LockedHead {
  readonly frontier: Frontier
  /** Every entry so far is found by what it is about. */
  readonly isIndexed: boolean
}

async function lockHead(tx: Transaction<Database>): Promise<LockedHead> {
  const found = await tx.selectFrom('audit_head').selectAll().forUpdate().executeTakeFirst()
  if (found !== undefined) return headOf(found)
  await tx
    .insertInto('audit_head')
    .values({ size: '0', frontier: Buffer.alloc(0), checkpoint: '' })
    .onConflict((conflict) => conflict.column('one').doNothing())
    .execute()
  const made = await tx.selectFrom('audit_head').selectAll().forUpdate().executeTakeFirstOrThrow()
  return headOf(made)
}

function headOf({ size, indexed, frontier }: Selectable<Database['audit_head']>): LockedHead {
  return { frontier: decodeFrontier(BigInt(size), frontier), isIndexed: indexed === size }
}

/** Inserts the hashes of one level, and above them the root of every tile that they fill. */
async function insertHashes(
  tx: Transaction<Database>,
  level: number,
  first: bigint,
  hashes: readonly Hash[],
): Promise<void> {
  await insertBytes(tx, 'audit_hashes', 'hash', first, hashes, level)
  const width = BigInt(TILE_WIDTH)
  const from = first / width
  const to = (first + BigInt(hashes.length)) / width
  if (to === from) return
  const filled = await tx
    .selectFrom('audit_hashes')
    .select('hash')
    .where('level', '=', level)
    .where('index', '>=', String(from * width))
    .where('index', '<', String(to * width))
    .orderBy('index')
    .execute()
  const roots = Array.from({ length: Number(to - from) }, (_, tile) =>
    treeHash(filled.slice(tile * TILE_WIDTH, (tile + 1) * TILE_WIDTH).map((row) => row.hash)),
  )
  await insertHashes(tx, level + 1, from, roots)
}

async function insertBytes(
  tx: Transaction<Database>,
  table: 'audit_entries' | 'audit_hashes',
  column: 'entry' | 'hash',
  first: bigint,
  items: readonly Uint8Array[],
  level?: number,
): Promise<void> {
  const columns = level === undefined ? sql`` : sql`level, `
  const value = level === undefined ? sql`` : sql`${level}::smallint, `
  await sql`insert into ${sql.table(table)} (${columns}index, ${sql.ref(column)})
    select ${value}${String(first)}::bigint + n - 1, bytes
    from unnest(${items.map((item) => Buffer.from(item))}::bytea[]) with ordinality as t(bytes, n)`.execute(
    tx,
  )
}
