import { createHmac } from 'node:crypto'
import { pieceCount } from '#core/block/capturable.ts'
import { PieceSet } from '#core/block/piece-set.ts'
import { BytesError, constantTimeEqual, decodeUtf8, encodeUtf8, Reader, Writer } from '#core/bytes/index.ts'
import { corrupt, malformed, ReplicaError } from './errors.ts'
import type { ReplicaKeys } from './keys.ts'
import type { PieceTable } from './table.ts'

/**
 * The manifest of a replica, at one moment:
 *
 *     magic 'TCREPLIC' | version u16 | replica id 16 | blocks u32 | sequence u64 | time, ms since 1970, u64
 *     | length of base u16 | base | runs of zeros u32 | (first u32 | count u32)… | pieces u32 | (piece u32 | name 32)… | MAC 32
 *
 * Runs and pieces are in order and do not overlap. Whoever stores it can read which pieces it needs; only who has the
 * replica's keys can make one: the MAC is HMAC-SHA-256 over all before it.
 */
export interface ReplicaManifest extends PieceTable {
  /** 16 bytes. */
  readonly replicaId: Uint8Array
  /** What the disk lies over: `name:version merkleRoot`. */
  readonly base: string
  /** How many the disk has. */
  readonly blocks: number
  /** Counts the states of a replica, from 1. */
  readonly sequence: number
  /** Unix time, ms, by the endpoint's clock. */
  readonly writtenAt: number
}

const magic = encodeUtf8('TCREPLIC')
const version = 1
const macBytes = 32
const nameBytes = 32
const headBytes = 8 + 2 + 16 + 4 + 8 + 8 + 2
const entryBytes = 4 + nameBytes
const longestBase = 400
/** About 460,000 pieces: 110 GiB. */
export const longestManifestBytes = 16_777_216

/** @throws {ReplicaError} REPLICA_TOO_LARGE, REPLICA_KEY_GONE */
export function encodeManifest(keys: ReplicaKeys, manifest: Omit<ReplicaManifest, 'replicaId'>): Uint8Array {
  const { base, blocks, sequence, writtenAt, names, zeros } = manifest
  const baseBytes = encodeUtf8(base)
  const runs = [...zeros.runs()]
  const length = headBytes + baseBytes.length + 8 + runs.length * 8 + names.size * entryBytes + macBytes
  if (length > longestManifestBytes) throw tooLarge(length)
  const fields = new Writer(length)
    .bytes(magic)
    .u16(version)
    .bytes(keys.id)
    .u32(blocks)
    .u64(BigInt(sequence))
    .u64(BigInt(writtenAt))
    .u16(baseBytes.length)
    .bytes(baseBytes)
    .u32(runs.length)
  for (const { first, count } of runs) fields.u32(first).u32(count)
  const signed = Buffer.concat([fields.u32(names.size).finish(), encodeNames(names)])
  return Buffer.concat([signed, macOf(keys, signed)])
}

/** There are many. */
function encodeNames(names: ReadonlyMap<number, string>): Uint8Array {
  const bytes = Buffer.alloc(names.size * entryBytes)
  let at = 0
  for (const piece of Uint32Array.from(names.keys()).toSorted()) {
    bytes.writeUInt32BE(piece, at)
    bytes.write(names.get(piece) ?? '', at + 4, 'hex')
    at += entryBytes
  }
  return bytes
}

function tooLarge(length: number): ReplicaError {
  return new ReplicaError(
    'REPLICA_TOO_LARGE',
    `expected a manifest of at most ${longestManifestBytes} bytes, got ${length}`,
    { remedy: 'More was written than is copied to the data centre. Ask an admin.' },
  )
}

/**
 * What a manifest says, whoever made it.
 *
 * @param bytes untrusted
 * @throws {ReplicaError} REPLICA_MALFORMED
 */
export function decodeManifest(bytes: Uint8Array): ReplicaManifest {
  if (bytes.length > longestManifestBytes) throw malformed(`expected at most ${longestManifestBytes} bytes`)
  try {
    return decodeFields(new Reader(bytes))
  } catch (cause) {
    if (cause instanceof BytesError) throw malformed(cause.message, cause)
    throw cause
  }
}

/**
 * Whether a manifest was made by whoever has the keys of its replica.
 *
 * @param bytes untrusted
 */
export function isSealedBy(keys: ReplicaKeys, bytes: Uint8Array): boolean {
  const end = bytes.length - macBytes
  return end > 0 && constantTimeEqual(macOf(keys, bytes.subarray(0, end)), bytes.subarray(end))
}

/**
 * The manifest of one's own replica.
 *
 * @param bytes untrusted
 * @throws {ReplicaError} REPLICA_CORRUPT, REPLICA_OTHER_BASE, REPLICA_MALFORMED
 */
export function openManifest(
  keys: ReplicaKeys,
  { base, blocks }: { readonly base: string; readonly blocks: number },
  bytes: Uint8Array,
): ReplicaManifest {
  if (!isSealedBy(keys, bytes)) throw corrupt('the list of pieces')
  const manifest = decodeManifest(bytes)
  if (manifest.base === base && manifest.blocks === blocks) return manifest
  throw new ReplicaError(
    'REPLICA_OTHER_BASE',
    `expected a replica over ${base} of ${blocks} blocks, got one over ${manifest.base} of ${manifest.blocks}`,
    { remedy: 'Ask an admin to remove this replica on the page Data.' },
  )
}

function decodeFields(fields: Reader): ReplicaManifest {
  if (!constantTimeEqual(fields.bytes(magic.length), magic) || fields.u16() !== version)
    throw malformed(`expected version ${version}, got something else`)
  const replicaId = fields.bytes(16).slice()
  const blocks = fields.u32()
  const [sequence, writtenAt] = [safe(fields.u64()), safe(fields.u64())]
  if (sequence === 0) throw malformed('expected a sequence from 1 on, got 0')
  const baseLength = fields.u16()
  if (baseLength > longestBase) throw malformed(`expected a base of at most ${longestBase} bytes`)
  const base = decodeUtf8(fields.bytes(baseLength))
  const pieces = pieceCount(blocks)
  const zeros = decodeZeros(fields, pieces)
  const names = decodeNames(fields, pieces, zeros)
  fields.bytes(macBytes)
  fields.end()
  return { replicaId, base, blocks, sequence, writtenAt, names, zeros }
}

function decodeZeros(fields: Reader, pieces: number): PieceSet {
  // So many fit in: a count that claims more fails before anything of its size is made.
  const runs = fields.u32()
  if (runs * 8 > fields.remaining) throw malformed(`expected ${runs} runs, got the end`)
  const zeros = new PieceSet(pieces)
  let end = -1
  for (let index = 0; index < runs; index++) {
    const [first, count] = [fields.u32(), fields.u32()]
    if (first <= end || count === 0 || first + count > pieces)
      throw malformed('expected runs in order, within the disk')
    end = first + count
    zeros.add(first, count)
  }
  return zeros
}

function decodeNames(fields: Reader, pieces: number, zeros: PieceSet): Map<number, string> {
  const count = fields.u32()
  if (count * entryBytes > fields.remaining) throw malformed(`expected ${count} pieces, got the end`)
  // There are many: they are read where they stand, not copied one by one.
  const bytes = fields.bytes(count * entryBytes)
  const entries = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const names = new Map<number, string>()
  let last = -1
  for (let at = 0; at < entries.length; at += entryBytes) {
    const piece = entries.readUInt32BE(at)
    if (piece <= last || piece >= pieces || zeros.has(piece))
      throw malformed('expected pieces in order, within the disk')
    last = piece
    names.set(piece, entries.toString('hex', at + 4, at + entryBytes))
  }
  return names
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(`expected a number below 2^53, got ${value}`)
  return Number(value)
}

function macOf(keys: ReplicaKeys, signed: Uint8Array): Uint8Array {
  return createHmac('sha256', keys.manifest).update('trustcast replica manifest').update(signed).digest()
}
