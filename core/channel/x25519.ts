import { concatBytes, constantTimeEqual, decodeHex } from '#core/bytes/index.ts'
import { NoiseError } from './errors.ts'
import { type CryptoKey, keyBytes, unshared } from './primitives.ts'

/** An X25519 key pair of Web Crypto. The private key may be non-extractable. */
export interface CryptoKeyPair {
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
}

const algorithm = { name: 'X25519' }
const subtle = globalThis.crypto.subtle

/** PKCS #8 up to the 32 private bytes. Source: RFC 8410 section 7. */
const pkcs8Prefix = decodeHex('302e020100300506032b656e04220420')

/** The u-coordinate 9, from which every public key is made. Source: RFC 7748 section 6.1. */
const basePoint = Uint8Array.from({ length: keyBytes }, (_, index) => (index === 0 ? 9 : 0))

/** @param extractable false (the default) for a key that no script can read out */
export async function generateX25519(extractable = false): Promise<CryptoKeyPair> {
  return (await subtle.generateKey(algorithm, extractable, ['deriveBits'])) as CryptoKeyPair
}

/** The 32 bytes of a public key. */
export async function exportPublic(key: CryptoKey): Promise<Uint8Array> {
  return new Uint8Array(await subtle.exportKey('raw', key))
}

/** @throws {NoiseError} NOISE_KEYS when it is not 32 bytes */
export async function importPublic(raw: Uint8Array): Promise<CryptoKey> {
  requireKeyBytes(raw)
  return subtle.importKey('raw', unshared(raw), algorithm, true, [])
}

/**
 * The key pair of 32 private bytes.
 *
 * @throws {NoiseError} NOISE_KEYS when it is not 32 bytes
 */
export async function importPrivate(raw: Uint8Array, extractable = false): Promise<CryptoKeyPair> {
  requireKeyBytes(raw)
  const pkcs8 = unshared(concatBytes(pkcs8Prefix, raw))
  const privateKey = await subtle.importKey('pkcs8', pkcs8, algorithm, extractable, ['deriveBits'])
  const publicKey = await importPublic(await diffieHellman(privateKey, basePoint))
  return { privateKey, publicKey }
}

/** The 32 bytes of an extractable private key. */
export async function exportPrivate(key: CryptoKey): Promise<Uint8Array> {
  return new Uint8Array(await subtle.exportKey('pkcs8', key)).subarray(pkcs8Prefix.length)
}

/**
 * The shared secret, 32 bytes. Source: RFC 7748 section 6.1.
 *
 * @throws {NoiseError} NOISE_WEAK_KEY for a public key with which every secret is zero, NOISE_KEYS
 */
export async function diffieHellman(privateKey: CryptoKey, publicKey: Uint8Array): Promise<Uint8Array> {
  const peer = await importPublic(publicKey)
  let secret: Uint8Array
  try {
    secret = new Uint8Array(await subtle.deriveBits({ ...algorithm, public: peer }, privateKey, keyBytes * 8))
  } catch (cause) {
    throw new NoiseError('NOISE_WEAK_KEY', 'expected a public key of full order', { cause })
  }
  // Web Crypto must refuse this by itself; older engines did not.
  if (constantTimeEqual(secret, new Uint8Array(keyBytes))) {
    throw new NoiseError('NOISE_WEAK_KEY', 'expected a public key of full order')
  }
  return secret
}

function requireKeyBytes(raw: Uint8Array): void {
  if (raw.length !== keyBytes) {
    throw new NoiseError('NOISE_KEYS', `expected an X25519 key of ${keyBytes} bytes, got ${raw.length}`)
  }
}
