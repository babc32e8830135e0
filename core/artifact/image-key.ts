import { createHash, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { ArtifactError } from './errors.ts'

/** The secret of an image family: 32 random bytes. Whoever has it, and the chunks, can read the disk. */
export type ImageKey = Uint8Array

export const imageKeyBytes = 32

/** What is derived from an image key. */
export interface ChunkKeys {
  /** AES-256. */
  readonly encryption: Uint8Array
  /** HMAC-SHA-256. */
  readonly vector: Uint8Array
}

/**
 * The same for who seals chunk after chunk, and only that: as key objects, which cannot be wiped. Node 24 finds out that bytes are none by
 * exceptions, which cost a tenth of all that is done with a chunk.
 */
export interface SealingKeys {
  readonly encryption: KeyObject
  readonly vector: KeyObject
}

/**
 * Name of a key that says nothing about it: 16 bytes in hexadecimal digits.
 *
 * @throws {ArtifactError} ARTIFACT_BAD_INPUT
 */
export function keyIdOf(key: ImageKey): string {
  const label = Buffer.from(derive(key, 'trustcast image key id'))
  return createHash('sha256').update(label).digest('hex').slice(0, 32)
}

/** @throws {ArtifactError} ARTIFACT_BAD_INPUT */
export function chunkKeysOf(key: ImageKey): ChunkKeys {
  return {
    encryption: derive(key, 'trustcast chunk encryption'),
    vector: derive(key, 'trustcast chunk vector'),
  }
}

/** @throws {ArtifactError} ARTIFACT_BAD_INPUT */
export function sealingKeysOf(key: ImageKey): SealingKeys {
  const { encryption, vector } = chunkKeysOf(key)
  return { encryption: createSecretKey(encryption), vector: createSecretKey(vector) }
}

/** What seals an overlay over an image of the family: gone for whoever the image key is withdrawn from. */
export function overlayKeyOf(key: ImageKey): Uint8Array {
  return derive(key, 'trustcast overlay')
}

/** Forgets keys as far as a program can: what was read with them is with whoever read it. */
export function wipeKeys(keys: ChunkKeys): void {
  keys.encryption.fill(0)
  keys.vector.fill(0)
}

/** Source: RFC 5869, without salt since the key is random already. */
function derive(key: ImageKey, purpose: string): Uint8Array {
  if (key.length !== imageKeyBytes) {
    throw new ArtifactError(
      'ARTIFACT_BAD_INPUT',
      `expected a key of ${imageKeyBytes} bytes, got ${key.length}`,
    )
  }
  return new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), purpose, 32))
}
