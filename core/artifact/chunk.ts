import { createCipheriv, createDecipheriv, createHmac, hash } from 'node:crypto'
import { constants, zstdCompressSync, zstdDecompress } from 'node:zlib'
import { giveBack } from '#core/bytes/give-back.ts'
import { ArtifactError } from './errors.ts'
import type { ChunkKeys, SealingKeys } from './image-key.ts'

/**
 * A chunk as it is stored:
 *
 *     codec u8 | vector, 16 bytes | AES-256-CTR of the payload
 *
 * Codec 0: the payload is the chunk; 1: a zstd frame of it (RFC 8878). The vector is the first half of HMAC-SHA-256
 * over codec and payload, under a key of the image, as in a synthetic initialisation vector (RFC 5297): the same
 * chunk is stored as the same bytes in every version, and nobody without the key can tell what it holds. The digest
 * in the signed Merkle tree is over the stored bytes, so that a chunk is verified before it is decrypted, and
 * decrypted before it is unpacked.
 */

export const defaultChunkBytes = 262_144
export const minimumChunkBytes = 65_536
export const maximumChunkBytes = 4_194_304
/** What storing adds at the most. */
export const chunkOverhead = 17

const vectorBytes = 16
const cipher = 'aes-256-ctr'
const [raw, zstd] = [0, 1] as const
/**
 * The fast strategy with a table that remembers all of a chunk: a system is a hundredth larger than at level 3 and packed half as fast
 * again. Short matches, which it does not look for, cost whoever reads digits twice the time.
 */
const compression = {
  params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_hashLog]: 16 },
}

/** What is stored for a chunk that is not all zeros. The same input gives the same output. */
export function sealChunk({ encryption, vector }: SealingKeys, chunk: Uint8Array): Uint8Array {
  // In one go, into memory that is used again: so nothing is put together, and the collector has nothing to do.
  const room = packingRoom(chunk.length)
  const packed = zstdCompressSync(chunk, { ...compression, chunkSize: room })
  const [codec, payload] = packed.length < chunk.length ? [zstd, packed] : [raw, chunk]
  const stored = new Uint8Array(chunkOverhead + payload.length)
  stored[0] = codec
  const mac = createHmac('sha256', vector).update(stored.subarray(0, 1)).update(payload).digest()
  const start = mac.subarray(0, vectorBytes)
  stored.set(start, 1)
  const encrypted = createCipheriv(cipher, encryption, start).update(payload)
  stored.set(encrypted, chunkOverhead)
  // All of that memory, unless it is Node's pool.
  if (packed.buffer.byteLength === room) giveBack(new Uint8Array(packed.buffer))
  giveBack(encrypted)
  return stored
}

/** No less than zstd asks for to pack in one go: ZSTD_compressBound of zstd.h, which adds at most 64 bytes to the 256th part below 128 KiB. */
function packingRoom(length: number): number {
  return length + (length >> 8) + 64
}

/** SHA-256 of what is stored: the leaf of the Merkle tree. */
export function storedDigest(stored: Uint8Array): Uint8Array {
  return hash('sha256', stored, 'buffer')
}

/**
 * The chunk behind stored bytes, which are not used any more when it has returned its promise. Unpacked beside this
 * thread, which has enough to do with what arrives. INVARIANT I1: they were verified before.
 *
 * @param length of the chunk; nothing longer is ever unpacked
 * @throws {ArtifactError} ARTIFACT_BAD_CHUNK
 */
export async function openChunk(
  { encryption }: ChunkKeys,
  stored: Uint8Array,
  length: number,
): Promise<Uint8Array> {
  const [codec] = stored
  if (
    stored.length < chunkOverhead ||
    stored.length > chunkOverhead + length ||
    (codec !== raw && codec !== zstd)
  ) {
    throw badChunk(`expected a stored chunk of at most ${length + chunkOverhead} bytes, got ${stored.length}`)
  }
  const payload = createDecipheriv(cipher, encryption, stored.subarray(1, chunkOverhead)).update(
    stored.subarray(chunkOverhead),
  )
  const chunk = codec === raw ? payload : await unpack(payload, length)
  if (chunk.length !== length) throw badChunk(`expected a chunk of ${length} bytes, got ${chunk.length}`)
  return chunk
}

async function unpack(payload: Uint8Array, length: number): Promise<Uint8Array> {
  try {
    return await decompress(payload, length)
  } catch (cause) {
    throw badChunk(`expected a zstd frame of ${length} bytes`, cause)
  } finally {
    giveBack(payload)
  }
}

function decompress(payload: Uint8Array, length: number): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  // With room for one byte more all of it is unpacked in one go, and nothing need be asked for the rest.
  zstdDecompress(payload, { maxOutputLength: length, chunkSize: length + 1 }, (error, chunk) => {
    if (error === null) resolve(chunk)
    else reject(error)
  })
  return promise
}

function badChunk(message: string, cause?: unknown): ArtifactError {
  return new ArtifactError('ARTIFACT_BAD_CHUNK', message, {
    cause,
  })
}
