import { type KeyObject, sign, verify } from 'node:crypto'
import { encodeEcdsaSignature } from '#core/ecdsa/index.ts'

/** Compact JWS (RFC 7515, section 7.1) with the two algorithms that are in use here: ES256 and EdDSA. */
export interface CompactJws {
  /** Untrusted, as everything before `isSignedBy` has said yes. */
  readonly header: Readonly<Record<string, unknown>>
  /** @returns whether one of the keys signed it; a key of another kind did not */
  isSignedBy(keys: readonly KeyObject[]): boolean
  /** @throws {SyntaxError} when it is no JSON object */
  payload(): Readonly<Record<string, unknown>>
}

export type JwsAlgorithm = 'ES256' | 'EdDSA'

const base64urlPattern = /^[A-Za-z0-9_-]*$/
/** Of both algorithms. */
const signatureBytes = 64
const keyTypes = { ES256: 'ec', EdDSA: 'ed25519' } as const

/** @param key P-256 for ES256, Ed25519 for EdDSA */
export function makeCompactJws(
  header: { readonly typ: string; readonly alg: JwsAlgorithm; readonly kid?: string },
  payload: object,
  key: KeyObject,
): string {
  const signed = `${encodeJson(header)}.${encodeJson(payload)}`
  const signature = sign(digestOf(header.alg), Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' })
  return `${signed}.${signature.toString('base64url')}`
}

/**
 * @param token untrusted
 * @throws {SyntaxError} when it is longer, or not three parts of base64url of which the first is a JSON object
 */
export function readCompactJws(token: string, alg: JwsAlgorithm, maxChars: number): CompactJws {
  const parts = token.length > maxChars ? [] : token.split('.')
  const [header, payload, signature] = parts
  if (
    parts.length !== 3 ||
    header === undefined ||
    payload === undefined ||
    signature === undefined ||
    !parts.every((part) => base64urlPattern.test(part))
  )
    throw new SyntaxError('expected three parts of base64url')
  const bytes = Buffer.from(signature, 'base64url')
  const signed = Buffer.from(`${header}.${payload}`)
  const encoded =
    alg === 'ES256' ? encodeEcdsaSignature(bytes.subarray(0, 32), bytes.subarray(32, 64)) : bytes
  return {
    header: decodeJson(header),
    isSignedBy: (keys) =>
      bytes.length === signatureBytes &&
      keys.some(
        (key) => key.asymmetricKeyType === keyTypes[alg] && verify(digestOf(alg), signed, key, encoded),
      ),
    payload: () => decodeJson(payload),
  }
}

function digestOf(alg: JwsAlgorithm): 'sha256' | null {
  return alg === 'ES256' ? 'sha256' : null
}

function encodeJson(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decodeJson(part: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new SyntaxError('expected a JSON object')
  return value as Readonly<Record<string, unknown>>
}
