import { AuditError } from './errors.ts'
import { type Hash, treeHash } from './merkle.ts'

/** How many hashes, or entries, a full tile holds. */
export const TILE_WIDTH = 256

/** Two bytes say an entry's length. */
export const MAX_ENTRY_BYTES = 0xffff

/** The largest entry bundle: 256 entries of the largest size. */
export const MAX_BUNDLE_BYTES: number = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)

/**
 * One file of the log (C2SP tlog-tiles, "Merkle Tree" and "Log entries"): at level 0 the hashes of `width` entries from
 * `index · 256`, at level L the hashes of full tiles below; `entries` are the entries themselves.
 */
export interface Tile {
  readonly level: number | 'entries'
  readonly index: bigint
  /** 1…256; below 256 the tile is partial. */
  readonly width: number
}

/** `tile/<L>/<N>[.p/<W>]`, N in groups of three digits, all but the last with an `x`: 1234067 is `x001/x234/067`. */
export function tilePath({ level, index, width }: Tile): string {
  const digits = index.toString()
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0')
  const partial = width < TILE_WIDTH ? `.p/${width}` : ''
  return `tile/${level}/${padded.replaceAll(/\d{3}(?=\d)/g, 'x$&/')}${partial}`
}

/** The tile that a path names, `undefined` for a path that `tilePath` does not write. */
export function parseTilePath(path: string): Tile | undefined {
  if (path.length > 64) return undefined
  const match = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/)*\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path)
  if (match === null) return undefined
  const [, level, index = '', width] = match
  const tile: Tile = {
    level: level === 'entries' ? level : Number(level),
    index: BigInt(index.replaceAll(/[x/]/g, '')),
    width: Number(width ?? TILE_WIDTH),
  }
  const isInRange = (tile.level === 'entries' || tile.level < 64) && tile.width > 0
  return isInRange && tilePath(tile) === path ? tile : undefined
}

/** The tiles that a tree of `to` entries has and a tree of `from` entries has not, level by level, left to right. */
export function* changedTiles(from: bigint, to: bigint): Generator<Tile> {
  for (let level = 0; to >> BigInt(8 * level) > 0n; level++) {
    const before = from >> BigInt(8 * level)
    const after = to >> BigInt(8 * level)
    if (after === before) return
    for (let index = before >> 8n; index << 8n < after; index++) {
      const left = after - (index << 8n)
      const width = left < TILE_WIDTH ? Number(left) : TILE_WIDTH
      if (level === 0) yield { level: 'entries', index, width }
      yield { level, index, width }
    }
  }
}

/**
 * The bytes of a hash tile.
 *
 * @param level how many levels the tile is above the given hashes: 0 if they are its own
 * @param hashes the hashes under the tile, 256^level for each of its own; a rest that fills none of its own is left out
 * @throws {AuditError} AUDIT_BAD_RANGE if that gives no hash, or more than 256
 */
export function encodeHashTile(level: number, hashes: readonly Hash[]): Uint8Array {
  const span = TILE_WIDTH ** level
  const width = Math.floor(hashes.length / span)
  if (width < 1 || width > TILE_WIDTH) {
    throw new AuditError(
      'AUDIT_BAD_RANGE',
      `${hashes.length} hashes do not make a tile ${level} levels above them`,
    )
  }
  return Buffer.concat(
    Array.from({ length: width }, (_, i) => treeHash(hashes.slice(i * span, (i + 1) * span))),
  )
}

/**
 * Entries, each after its length as a big-endian u16.
 *
 * @throws {AuditError} AUDIT_BAD_BUNDLE for more than 256 entries or one above 65,535 bytes
 */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length > TILE_WIDTH) throw badBundle(`at most 256 entries, got ${entries.length}`)
  return Buffer.concat(entries.flatMap((entry) => [entryLength(entry), entry]))
}

/**
 * @param width how many entries the bundle must hold
 * @throws {AuditError} AUDIT_BAD_BUNDLE
 */
export function decodeEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  if (width > TILE_WIDTH) throw badBundle(`at most 256 entries, expected ${width}`)
  const entries: Uint8Array[] = []
  let offset = 0
  for (let i = 0; i < width; i++) {
    const entry = entryAt(bytes, offset)
    if (entry === undefined) throw badBundle(`ends in entry ${i} of ${width}`)
    entries.push(entry)
    offset += 2 + entry.length
  }
  if (offset !== bytes.length) throw badBundle(`${bytes.length - offset} bytes after its ${width} entries`)
  return entries
}

/** The entry whose length stands at this offset; `undefined` if the bundle ends before the entry does. */
export function entryAt(bundle: Uint8Array, offset: number): Uint8Array | undefined {
  const [high, low] = bundle.subarray(offset, offset + 2)
  if (high === undefined || low === undefined) return undefined
  const start = offset + 2
  const end = start + ((high << 8) | low)
  return end > bundle.length ? undefined : bundle.subarray(start, end)
}

function entryLength({ length }: Uint8Array): Uint8Array {
  if (length > MAX_ENTRY_BYTES)
    throw badBundle(`an entry has ${length} bytes, the most is ${MAX_ENTRY_BYTES}`)
  return Uint8Array.of(length >> 8, length & 0xff)
}

function badBundle(problem: string): AuditError {
  return new AuditError('AUDIT_BAD_BUNDLE', `entry bundle: ${problem}`)
}
