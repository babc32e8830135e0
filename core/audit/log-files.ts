import { CodedError } from '#core/errors/coded-error.ts'
import { HASH_BYTES, type Hash, splitHashes } from './merkle.ts'
import { MAX_BUNDLE_BYTES, TILE_WIDTH, type Tile, tilePath } from './tiles.ts'

/** Reads a file of the log, such as `checkpoint` or `tile/0/000`; `undefined` if there is none. Errors rise. */
export type FileReader = (path: string) => Promise<Uint8Array | undefined>

/** What can be wrong with a log. */
export type LogFaultCode =
  /** There is no checkpoint, or none that this key has signed. */
  | 'AUDIT_CHECKPOINT_INVALID'
  /** The checkpoint given as trusted is none that this key has signed. */
  | 'AUDIT_TRUSTED_INVALID'
  /** The other copy has no checkpoint that this key has signed, lacks tiles, or is longer and not whole. */
  | 'AUDIT_OTHER_INVALID'
  /** An entry is not what was logged: its bytes do not give its hash. */
  | 'AUDIT_ENTRY_CHANGED'
  /** Only a hash tile is damaged; the entries below still give the hash above. */
  | 'AUDIT_TILE_CHANGED'
  /** Entries and their hashes agree with each other, but not with the hash above. */
  | 'AUDIT_RANGE_CHANGED'
  /** The log ends before its checkpoint, a checkpoint signed earlier, or a copy of it says; or lacks a file. */
  | 'AUDIT_CUT'
  /** The log is whole, but not the one that was signed before or that the other copy holds. */
  | 'AUDIT_FORKED'

/** The entries from `index` to below `end`: the smallest range known to hold the first thing that is wrong. */
export interface FaultRange {
  readonly index: bigint
  readonly end: bigint
}

/** What ends a verification; it never leaves this folder. */
export class LogFault extends CodedError<LogFaultCode> {
  readonly range: FaultRange | undefined

  constructor(code: LogFaultCode, message: string, range?: FaultRange, cause?: unknown) {
    super(code, message, { cause })
    this.range = range
  }
}

/** The entries under a tile, or under one hash of it. */
export function rangeOf({ level, index, width }: Tile, hash?: number): FaultRange {
  const height = level === 'entries' ? 0n : BigInt(8 * level)
  const first = index * BigInt(TILE_WIDTH) + BigInt(hash ?? 0)
  return { index: first << height, end: (first + BigInt(hash === undefined ? width : 1)) << height }
}

/**
 * Reads a hash tile.
 *
 * @throws {LogFault} AUDIT_CUT if there is none, AUDIT_TILE_CHANGED if it has not as many hashes as it must
 */
export async function readHashTile(read: FileReader, tile: Tile): Promise<Hash[]> {
  const { bytes } = await readTile(read, tile)
  if (bytes.length !== tile.width * HASH_BYTES) {
    const lengths = `${tile.width * HASH_BYTES} bytes expected, ${bytes.length} found`
    throw new LogFault('AUDIT_TILE_CHANGED', `${tilePath(tile)}: ${lengths}`, rangeOf(tile))
  }
  return splitHashes(bytes)
}

/**
 * Reads the entry bundle beside a level 0 tile.
 *
 * @returns `isLonger` if it may hold entries beyond the tile's width
 * @throws {LogFault} AUDIT_CUT if there is none, AUDIT_ENTRY_CHANGED if it is larger than any bundle
 */
export async function readEntries(
  read: FileReader,
  tile: Tile,
): Promise<{ bytes: Uint8Array; isLonger: boolean }> {
  const found = await readTile(read, { ...tile, level: 'entries' })
  if (found.bytes.length > MAX_BUNDLE_BYTES) {
    throw new LogFault('AUDIT_ENTRY_CHANGED', `${tilePath(tile)}: ${found.bytes.length} bytes`, rangeOf(tile))
  }
  return found
}

/** Logs may delete a partial tile once the full one exists (C2SP tlog-tiles, "Partial Tiles"), which starts alike. */
async function readTile(read: FileReader, tile: Tile): Promise<{ bytes: Uint8Array; isLonger: boolean }> {
  const own = await read(tilePath(tile))
  if (own !== undefined) return { bytes: own, isLonger: false }
  const full = tile.width < TILE_WIDTH ? await read(tilePath({ ...tile, width: TILE_WIDTH })) : undefined
  if (full === undefined) throw new LogFault('AUDIT_CUT', `${tilePath(tile)} is missing`, rangeOf(tile))
  return {
    bytes: tile.level === 'entries' ? full : full.subarray(0, tile.width * HASH_BYTES),
    isLonger: true,
  }
}
