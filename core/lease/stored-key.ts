import { createCipheriv, createDecipheriv } from 'node:crypto'
import { LeaseError } from './lease-error.ts'

const ivBytes = 12
const tagBytes = 16

/**
 * Encrypts an image key for the site's database: AES-256-GCM under the site's own secret, bound to the image's name, so that rows
 * cannot be swapped. Layout: iv (12 bytes), ciphertext, tag (16 bytes).
 *
 * @param secret 32 bytes
 * @param iv 12 fresh random bytes
 */
export function encryptImageKey(secret: Uint8Array, name: string, key: Uint8Array, iv: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', secret, iv, { authTagLength: tagBytes })
  cipher.setAAD(Buffer.from(name))
  return Buffer.concat([iv, cipher.update(key), cipher.final(), cipher.getAuthTag()])
}

/** @throws {LeaseError} LEASE_SECRET_UNUSABLE when the secret is another one, the name is another image's, or the bytes are damaged */
export function decryptImageKey(secret: Uint8Array, name: string, stored: Uint8Array): Uint8Array {
  try {
    const [iv, body, tag] = [
      stored.subarray(0, ivBytes),
      stored.subarray(ivBytes, -tagBytes),
      stored.subarray(-tagBytes),
    ]
    const decipher = createDecipheriv('aes-256-gcm', secret, iv, { authTagLength: tagBytes })
    decipher.setAAD(Buffer.from(name))
    decipher.setAuthTag(tag)
    return Buffer.concat([decipher.update(body), decipher.final()])
  } catch (cause) {
    throw new LeaseError('LEASE_SECRET_UNUSABLE', `the key of image ${name} cannot be decrypted`, {
      remedy: "Restore the site's file keys/images.key from a backup, or deposit the image's key again.",
      cause,
    })
  }
}
