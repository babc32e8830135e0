import { access, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  AuditError,
  changedTiles,
  type FileReader,
  openCheckpoint,
  parseVerifierKey,
  TILE_WIDTH,
  type Tile,
  tilePath,
  verifyLog,
} from '#core/audit/index.ts'
import { CliError } from '../cli-error.ts'
import type { Output } from '../command.ts'
import type { Login } from '../login-file.ts'
import { progressLine } from '../progress.ts'
import { checkpointOf, fromDirectory, fromSite, keyOf, mustRead } from './audit-files.ts'

/**
 * Copies the log into a folder. Of a copy that is there only what it lacks is fetched, and what an export that was interrupted has fetched is
 * not fetched again.
 *
 * @throws {CliError} CLI_OTHER_LOG
 */
export async function exportLog(login: Login, dir: string, out: Output): Promise<void> {
  const read = fromSite(login)
  const key = await keyOf(login)
  const { size, note } = await checkpointOf(read, key)
  const kept = await keptCopy(dir, key)
  const tiles = [...changedTiles(kept.size <= size ? kept.size : 0n, size)]
  const arriving = join(dir, '.arriving')
  if (String(await fromDirectory(arriving)('key')) !== `${key}\n`)
    await rm(arriving, { recursive: true, force: true })
  await keep(arriving, 'key', Buffer.from(`${key}\n`))
  const isResumed = await fetchTiles(read, arriving, tiles)
  try {
    await keep(arriving, 'checkpoint', note)
    if (isResumed || kept.isThere) await requireContinued(dir, arriving, kept)
    // The checkpoint last: a copy with one is a whole copy.
    for (const path of [...tiles.map(tilePath), 'key', 'checkpoint']) {
      await mkdir(dirname(join(dir, path)), { recursive: true })
      await rename(join(arriving, path), join(dir, path))
    }
  } finally {
    await rm(arriving, { recursive: true, force: true })
  }
  out.result(
    { size: String(size), files: tiles.length, key },
    () => `${size} entries in ${dir}\nVerify with: trustcast audit verify ${dir} --key '${key}'`,
  )
}

/** What is in a folder before the export. */
interface KeptCopy {
  readonly isThere: boolean
  /** The copy's own, else the site's. */
  readonly key: string
  readonly checkpoint: string | undefined
  /** Entries that it holds, if it is whole. */
  readonly size: bigint
}

async function keptCopy(dir: string, siteKey: string): Promise<KeptCopy> {
  const read = fromDirectory(dir)
  const [ownKey, note] = await Promise.all([read('key'), read('checkpoint')])
  const key = ownKey === undefined ? siteKey : String(ownKey).trim()
  const isThere = ownKey !== undefined || note !== undefined
  return { isThere, key, checkpoint: note && String(note), size: note === undefined ? 0n : sizeIn(note, key) }
}

function sizeIn(checkpoint: Uint8Array, key: string): bigint {
  try {
    return openCheckpoint(checkpoint, parseVerifierKey(key)).size
  } catch (error) {
    // What it is worth is for `requireContinued` to say.
    if (error instanceof AuditError) return 0n
    throw error
  }
}

/** Full tiles never change. @returns whether some were there already */
async function fetchTiles(read: FileReader, arriving: string, tiles: readonly Tile[]): Promise<boolean> {
  using progress = progressLine()
  let known = 0
  for (const [index, tile] of tiles.entries()) {
    const path = tilePath(tile)
    if (tile.width === TILE_WIDTH && (await isThere(join(arriving, path)))) known += 1
    else await keep(arriving, path, await mustRead(read, path))
    progress.show(`${index + 1} of ${tiles.length} files`)
  }
  return known > 0
}

/**
 * A copy is evidence: only a log that goes on from it, under the same key, takes its place.
 *
 * @throws {CliError} CLI_OTHER_LOG
 */
async function requireContinued(
  dir: string,
  arriving: string,
  { isThere, key, checkpoint }: KeptCopy,
): Promise<void> {
  const [fresh, old] = [fromDirectory(arriving), fromDirectory(dir)]
  const verdict = await verifyLog({
    read: async (path) => (await fresh(path)) ?? (await old(path)),
    publicKey: key,
    ...(checkpoint === undefined ? {} : { trusted: checkpoint }),
  })
  if (verdict.ok) return
  const why = `${verdict.code}: ${verdict.message}`
  if (!isThere) {
    throw new CliError('CLI_OTHER_LOG', `what an earlier export left does not begin this log (${why})`, {
      remedy: 'It was removed: export again.',
    })
  }
  throw new CliError(
    'CLI_OTHER_LOG',
    `the log and the copy in ${dir}, which stays, are not one log (${why})`,
    {
      remedy: `Keep that copy. Verify it, export into another folder, and compare: trustcast audit verify --against ${dir}`,
    },
  )
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** Whole or not at all: whoever goes on takes it for whole. */
async function keep(dir: string, path: string, bytes: Uint8Array): Promise<void> {
  const file = join(dir, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(`${file}.partial`, bytes)
  await rename(`${file}.partial`, file)
}
