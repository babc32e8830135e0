import { sql, type Transaction } from 'kysely'
import { growTree } from '#core/audit/append-tree.ts'
import { signCheckpoint } from '#core/audit/checkpoint.ts'
import { decodeFrontier, EMPTY_FRONTIER, encodeFrontier, type Hash, treeHash } from '#core/audit/merkle.ts'
import type { NoteSigner } from '#core/audit/note.ts'
import { encodeEntryBundle, encodeHashTile, TILE_WIDTH, type Tile } from '#core/audit/tiles.ts'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'

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
    const head = await lockHead(tx)
    const tree = growTree(head, batch)
    await insertBytes(tx, 'audit_entries', 'entry', tree.firstIndex, batch)
    await insertHashes(tx, 0, tree.firstIndex, tree.leafHashes)
    await tx
      .updateTable('audit_head')
      .set({
        size: String(tree.size),
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

async function lockHead(tx: Transaction<Database>) {
  const found = await tx.selectFrom('audit_head').selectAll().forUpdate().executeTakeFirst()
  if (found !== undefined) return decodeFrontier(BigInt(found.size), found.frontier)
  await tx
    .insertInto('audit_head')
    .values({ size: '0', frontier: Buffer.alloc(0), checkpoint: '' })
    .onConflict((conflict) => conflict.column('one').doNothing())
    .execute()
  const made = await tx.selectFrom('audit_head').selectAll().forUpdate().executeTakeFirstOrThrow()
  return made.size === '0' ? EMPTY_FRONTIER : decodeFrontier(BigInt(made.size), made.frontier)
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
