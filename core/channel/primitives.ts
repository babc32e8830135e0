/** The few functions of Web Crypto that the channel stands on. Nothing else here talks to it, except `x25519.ts`. */

/** A key of Web Crypto, by whatever name the type library at hand declares it. */
export type CryptoKey = InstanceType<typeof globalThis.CryptoKey>

const subtle = globalThis.crypto.subtle

/** Bytes of one SHA-256 value, X25519 key, chaining key or pre-shared key. */
export const keyBytes = 32

/** Web Crypto's types want memory that is not shared between threads; ours never is. */
export function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>
}

export function randomBytes(length: number): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(length))
}

export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await subtle.digest('SHA-256', unshared(bytes)))
}

/** @param key at least one byte: Web Crypto takes no empty HMAC key */
export async function hmacSha256(key: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const imported = await subtle.importKey('raw', unshared(key), algorithm, false, ['sign'])
  return new Uint8Array(await subtle.sign('HMAC', imported, unshared(bytes)))
}

/** Source: RFC 5869. */
export async function hkdfSha256(
  secret: Uint8Array,
  salt: Uint8Array,
  info: Uint8Array,
  length: number,
): Promise<Uint8Array> {
  const imported = await subtle.importKey('raw', unshared(secret), 'HKDF', false, ['deriveBits'])
  const algorithm = { name: 'HKDF', hash: 'SHA-256', salt: unshared(salt), info: unshared(info) }
  return new Uint8Array(await subtle.deriveBits(algorithm, imported, length * 8))
}

export function importAesKey(key: Uint8Array): Promise<CryptoKey> {
  return subtle.importKey('raw', unshared(key), 'AES-GCM', false, ['encrypt', 'decrypt'])
}

export async function aesGcmEncrypt(
  key: CryptoKey,
  iv: Uint8Array,
  additionalData: Uint8Array,
  plaintext: Uint8Array,
): Promise<Uint8Array> {
  const algorithm = { name: 'AES-GCM', iv: unshared(iv), additionalData: unshared(additionalData) }
  return new Uint8Array(await subtle.encrypt(algorithm, key, unshared(plaintext)))
}

/** Rejects when the ciphertext is not authentic. */
export async function aesGcmDecrypt(
  key: CryptoKey,
  iv: Uint8Array,
  additionalData: Uint8Array,
  ciphertext: Uint8Array,
): Promise<Uint8Array> {
  const algorithm = { name: 'AES-GCM', iv: unshared(iv), additionalData: unshared(additionalData) }
  return new Uint8Array(await subtle.decrypt(algorithm, key, unshared(ciphertext)))
}
