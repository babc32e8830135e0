import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { z } from 'zod'
import { canonicalJson, decodeJsonFile, encodeJsonFile } from './canonical-json.ts'
import { ReleaseError } from './errors.ts'

/**
 * A public key as TUF writes it (TUF 1.0, section 4.2): Ed25519 as 64 hexadecimal digits, ECDSA P-256 as PEM. The name
 * says whose it is; it is for people and not part of the key's id.
 */
export interface TufKey {
  readonly keytype: 'ed25519' | 'ecdsa'
  readonly scheme: 'ed25519' | 'ecdsa-sha2-nistp256'
  readonly keyval: { readonly public: string }
  readonly 'x-trustcast-name'?: string | undefined
}

/** Words with one space between: no name looks like two, turns the direction of what is read, or has an end that is not seen. */
const keyName = z
  .string()
  .max(100)
  .regex(/^[\p{L}\p{M}\p{N}\p{P}\p{S}]+(?: [\p{L}\p{M}\p{N}\p{P}\p{S}]+)*$/u)

/** A union, so that no key is of one kind and used as another. */
export const tufKey: z.ZodType<TufKey> = z.discriminatedUnion('keytype', [
  z.strictObject({
    keytype: z.literal('ed25519'),
    scheme: z.literal('ed25519'),
    keyval: z.strictObject({ public: z.string().regex(/^[0-9a-f]{64}$/) }),
    'x-trustcast-name': keyName.optional(),
  }),
  z.strictObject({
    keytype: z.literal('ecdsa'),
    scheme: z.literal('ecdsa-sha2-nistp256'),
    keyval: z.strictObject({ public: z.string().max(400) }),
    'x-trustcast-name': keyName.optional(),
  }),
])

/**
 * Signs with a key that somebody holds: in a file, on a token, or of the site itself.
 *
 * Lifetime and concurrency: for as long as the key is there; one call after another, a token asks its holder each time.
 */
export interface ReleaseSigner {
  /** `keyIdOf(publicKey)`. */
  readonly keyId: string
  readonly publicKey: TufKey
  /** Signs the bytes themselves: 64 bytes for Ed25519, DER for ECDSA with SHA-256. */
  sign(bytes: Uint8Array): Promise<Uint8Array>
}

/** Largest file that holds a public key, bytes. */
export const maximumKeyBytes = 2048

/** SHA-256 of the key in canonical form, without its name: one key has one id, whatever it is called. */
export function keyIdOf({ keytype, scheme, keyval }: TufKey): string {
  return hash('sha256', canonicalJson({ keytype, scheme, keyval: { public: keyval.public } }))
}

/** Whose key it is, as far as it says; otherwise the beginning of its id. */
export function keyLabel(key: TufKey): string {
  return key['x-trustcast-name'] ?? keyIdOf(key).slice(0, 8)
}

/**
 * @param key Ed25519 or ECDSA P-256, public or private
 * @throws {ReleaseError} RELEASE_BAD_KEY
 */
export function tufKeyOf(key: KeyObject, name?: string): TufKey {
  const named = name === undefined ? {} : { 'x-trustcast-name': checkKeyName(name) }
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  if (publicKey.asymmetricKeyType === 'ed25519') {
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
    return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: raw.toString('hex') }, ...named }
  }
  if (publicKey.asymmetricKeyDetails?.namedCurve === 'prime256v1') {
    const pem = publicKey.export({ format: 'pem', type: 'spki' }).toString()
    return { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: pem }, ...named }
  }
  throw badKey(`expected Ed25519 or ECDSA P-256, got ${publicKey.asymmetricKeyType ?? 'another key'}`)
}

/** A signer whose private key is in this process's memory. */
export function memorySigner(privateKey: KeyObject, name?: string): ReleaseSigner {
  const publicKey = tufKeyOf(privateKey, name)
  const digest = publicKey.keytype === 'ecdsa' ? 'sha256' : null
  return {
    keyId: keyIdOf(publicKey),
    publicKey,
    async sign(bytes) {
      return sign(digest, bytes, privateKey)
    },
  }
}

/** True when this key made this signature over these bytes. Anything that cannot be checked is false. */
export function isSignedBy(key: TufKey, bytes: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify(key.keytype === 'ecdsa' ? 'sha256' : null, bytes, readPublicKey(key), signature)
  } catch {
    // OpenSSL throws on points that are not on the curve: no signature of such a key counts.
    return false
  }
}

/** A public key as a file holds it. */
export function encodePublicKey(key: TufKey): Uint8Array {
  return Buffer.concat([encodeJsonFile({ ...key }), Buffer.from('\n')])
}

/**
 * @param bytes untrusted
 * @throws {ReleaseError} RELEASE_MALFORMED, RELEASE_BAD_KEY
 */
export function decodePublicKey(bytes: Uint8Array): TufKey {
  const end = bytes.at(-1) === 0x0a ? bytes.length - 1 : bytes.length
  return checkKey(decodeJsonFile(bytes.subarray(0, end), maximumKeyBytes))
}

/**
 * Checks that a value is a key, written in its one form.
 *
 * @throws {ReleaseError} RELEASE_BAD_KEY
 */
export function checkKey(value: unknown): TufKey {
  const parsed = tufKey.safeParse(value)
  if (!parsed.success) throw badKey(z.prettifyError(parsed.error), parsed.error)
  const key = parsed.data
  let written: string
  try {
    written = tufKeyOf(readPublicKey(key)).keyval.public
  } catch (cause) {
    throw badKey('expected a public key', cause)
  }
  // Two spellings of one PEM would be two ids, and one person two signers.
  if (written !== key.keyval.public) throw badKey('expected the key in the form that OpenSSL writes')
  return key
}

function readPublicKey({ keytype, keyval }: TufKey): KeyObject {
  if (keytype === 'ecdsa') return createPublicKey(keyval.public)
  const x = Buffer.from(keyval.public, 'hex').toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

function checkKeyName(name: string): string {
  if (keyName.safeParse(name).success) return name
  throw badKey('a name of a key has 1 to 100 characters that can be seen, with single spaces between words')
}

function badKey(problem: string, cause?: unknown): ReleaseError {
  return new ReleaseError('RELEASE_BAD_KEY', `this is no release key: ${problem}`, {
    cause,
  })
}
