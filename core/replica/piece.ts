import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto'
import { constants, zstdCompress, zstdDecompress } from 'node:zlib'
import { type PieceContent, pieceBlocks } from '#core/block/capturable.ts'
import { type SlotRun, slotBytes } from '#core/block/slot-store.ts'
import { constantTimeEqual, decodeHex, encodeHex } from '#core/bytes/index.ts'
import { corrupt } from './errors.ts'
import type { ReplicaKeys } from './keys.ts'

/**
 * A piece of a disk, 64 blocks of 4 KiB. Its plain form:
 *
 *     kinds, 2 bits a block, the first block in the lowest bits: 0 absent, 1 zeros, 2 data; 16 bytes | the data blocks
 *
 * and as it is stored:
 *
 *     nonce 12 | tag 16 | AES-256-GCM of a zstd frame (RFC 8878) of the plain form
 *
 * with `trustcast replica piece | replica id 16 | piece u32` as associated data. Its name is HMAC-SHA-256 over `piece u32
 * | plain form`: the same content of the same piece has the same name, which tells nobody else anything, and whoever
 * opens a piece finds out whether it is the one that was named.
 */

const kindBytes = pieceBlocks / 4
const [nonceBytes, tagBytes] = [12, 16]
const longestPlain = kindBytes + pieceBlocks * slotBytes
/** What cannot be compressed grows by a few bytes for each of its 128 KiB. */
export const longestSealedBytes: number = nonceBytes + tagBytes + longestPlain + 1024
const algorithm = 'aes-256-gcm'
const compression = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }
const kinds = ['absent', 'zero', 'data'] as const

/** The plain form of a piece. */
export function encodePiece({ runs, data }: PieceContent): Uint8Array {
  const plain = new Uint8Array(kindBytes + data.length)
  let block = 0
  for (const { kind, count } of runs) {
    const value = kinds.indexOf(kind)
    for (const end = block + count; block < end; block++)
      plain[block >> 2] = (plain[block >> 2] ?? 0) | (value << ((block & 3) * 2))
  }
  plain.set(data, kindBytes)
  return plain
}

/**
 * @param plain untrusted
 * @param blocks how many the piece has
 * @throws {ReplicaError} REPLICA_CORRUPT
 */
export function decodePiece(plain: Uint8Array, blocks: number): PieceContent {
  if (plain.length < kindBytes) throw corrupt('a piece')
  const runs: { kind: SlotRun['kind']; count: number }[] = []
  let dataBlocks = 0
  for (let block = 0; block < pieceBlocks; block++) {
    const kind = kinds[((plain[block >> 2] ?? 0) >> ((block & 3) * 2)) & 3]
    if (kind === undefined || (block >= blocks && kind !== 'absent')) throw corrupt('a piece')
    if (block >= blocks) continue
    if (kind === 'data') dataBlocks++
    const last = runs.at(-1)
    if (last?.kind === kind) last.count++
    else runs.push({ kind, count: 1 })
  }
  if (plain.length !== kindBytes + dataBlocks * slotBytes) throw corrupt('a piece')
  return { runs, data: plain.subarray(kindBytes) }
}

/** @returns 64 hexadecimal digits */
export function pieceName(keys: ReplicaKeys, piece: number, plain: Uint8Array): string {
  return encodeHex(createHmac('sha256', keys.name).update(numberBytes(piece)).update(plain).digest())
}

/**
 * @param nonce 12 random bytes, for this call alone: good for 2^32 pieces of one replica (NIST SP 800-38D section 8.3)
 * @throws {ReplicaError} REPLICA_KEY_GONE
 */
export async function sealPiece(
  keys: ReplicaKeys,
  piece: number,
  plain: Uint8Array,
  nonce: Uint8Array,
): Promise<Uint8Array> {
  const packed = await compress(plain)
  const cipher = createCipheriv(algorithm, keys.piece, nonce, { authTagLength: tagBytes })
  cipher.setAAD(placeOf(keys, piece))
  const text = cipher.update(packed)
  cipher.final()
  return Buffer.concat([nonce, cipher.getAuthTag(), text])
}

/**
 * Opens a piece and compares it with its name.
 *
 * @param sealed untrusted
 * @param blocks how many the piece has
 * @throws {ReplicaError} REPLICA_CORRUPT, REPLICA_KEY_GONE
 */
export async function openPiece(
  keys: ReplicaKeys,
  { piece, name, blocks }: { readonly piece: number; readonly name: string; readonly blocks: number },
  sealed: Uint8Array,
): Promise<PieceContent> {
  const what = `piece ${piece}`
  if (sealed.length < nonceBytes + tagBytes || sealed.length > longestSealedBytes) throw corrupt(what)
  const decipher = createDecipheriv(algorithm, keys.piece, sealed.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  })
  decipher.setAAD(placeOf(keys, piece))
  decipher.setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes))
  const packed = decipher.update(sealed.subarray(nonceBytes + tagBytes))
  try {
    decipher.final()
  } catch (cause) {
    throw corrupt(what, cause)
  }
  const plain = await decompress(packed).catch((cause: unknown) => {
    throw corrupt(what, cause)
  })
  if (!constantTimeEqual(decodeHex(pieceName(keys, piece, plain)), decodeHex(name))) throw corrupt(what)
  return decodePiece(plain, blocks)
}

function placeOf({ id }: ReplicaKeys, piece: number): Uint8Array {
  return Buffer.concat([Buffer.from('trustcast replica piece'), id, numberBytes(piece)])
}

function numberBytes(piece: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, piece)
  return bytes
}

function compress(plain: Uint8Array): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  zstdCompress(plain, compression, (error, packed) => (error === null ? resolve(packed) : reject(error)))
  return promise
}

function decompress(packed: Uint8Array): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  const options = { maxOutputLength: longestPlain, chunkSize: longestPlain + 1 }
  zstdDecompress(packed, options, (error, plain) => (error === null ? resolve(plain) : reject(error)))
  return promise
}
