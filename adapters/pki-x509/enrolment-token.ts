import { createHash, timingSafeEqual } from 'node:crypto'
import { readCertificate } from './certificate.ts'
import { PkiError } from './pki-error.ts'

/** What a token lets a machine become. */
export type EnrolmentKind = 'host' | 'gateway' | 'endpoint'

/** A single-use right to join a site, and the pin by which the joining machine knows the site. */
export interface EnrolmentToken {
  readonly kind: EnrolmentKind
  /** 32 random bytes; the site keeps only `secretHash` of them. */
  readonly secret: Uint8Array
  /** SHA-256 of the root certificate's DER; 32 bytes. */
  readonly rootHash: Uint8Array
}

/**
 * Writes a token: `tc1.<kind>.<secret>.<root hash>`, both base64url.
 *
 * @param secret 32 random bytes
 * @throws {PkiError} PKI_BAD_CERTIFICATE
 */
export function makeToken(kind: EnrolmentKind, secret: Uint8Array, rootPem: string): string {
  return ['tc1', kind, toBase64url(secret), toBase64url(rootHash(rootPem))].join('.')
}

/**
 * Reads a token. The error never repeats the text: a token with one character lost is still nearly a secret.
 *
 * @param text untrusted
 * @throws {PkiError} PKI_BAD_TOKEN
 */
export function parseToken(text: string): EnrolmentToken {
  const [, kind, secretText = '', hashText = ''] = pattern.exec(text.slice(0, 200)) ?? []
  const [secret, hash] = [Buffer.from(secretText, 'base64url'), Buffer.from(hashText, 'base64url')]
  // 43 characters carry two bits more than 32 bytes: only one spelling of each token is a token.
  const isCanonical = toBase64url(secret) === secretText && toBase64url(hash) === hashText
  if (kind !== undefined && isCanonical)
    return { kind: kind as EnrolmentKind, secret: new Uint8Array(secret), rootHash: new Uint8Array(hash) }
  throw new PkiError('PKI_BAD_TOKEN', 'expected a token of the form tc1.KIND.SECRET.HASH', {
    remedy: 'Copy the whole token, or make a new one in the console.',
  })
}

/** What the site stores and looks a token up by: SHA-256 of the secret, base64url. */
export function secretHash(secret: Uint8Array): string {
  return toBase64url(createHash('sha256').update(secret).digest())
}

/**
 * Checks a root certificate that was fetched from a server nobody has vouched for yet. Only with this may it be trusted.
 *
 * @param pem untrusted
 * @returns the same certificate, PEM
 * @throws {PkiError} PKI_BAD_CERTIFICATE, PKI_PIN_MISMATCH
 */
export function verifyPinnedRoot(pem: string, expected: Uint8Array): string {
  const found = rootHash(pem)
  if (expected.length === found.length && timingSafeEqual(found, expected))
    return readCertificate(pem).toString()
  throw new PkiError('PKI_PIN_MISMATCH', 'the site answered with another root certificate than was named', {
    remedy:
      'Somebody may be in between. Check the address of the site, and the token or fingerprint with an admin.',
  })
}

const pattern = /^tc1\.(host|gateway|endpoint)\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/

function rootHash(rootPem: string): Uint8Array {
  return createHash('sha256').update(readCertificate(rootPem).raw).digest()
}

function toBase64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}
