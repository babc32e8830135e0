import { decodeBase64url, encodeBase64url } from '#core/bytes/index.ts'
import { CodedError } from '#core/errors/coded-error.ts'

/**
 * Proof that a request was made by the holder of its web session's key, so that a stolen cookie alone opens nothing.
 *
 * Made after DPoP (RFC 9449) as a compact JWS (RFC 7515) with ES256, but bound to more:
 *
 *     header   {typ: 'trustcast-proof+jwt', alg: 'ES256', jwk: {kty, crv, x, y}}
 *     payload  {htm: method, htu: path and query, iat: Unix time in s, jti: 16 random bytes, bh: SHA-256 of the body}
 *
 * Byte strings are base64url without padding. That a `jti` is used once is for the site to remember.
 * Runs in browsers and in Node: Web Crypto only.
 */

export type ProofErrorCode = 'PROOF_MALFORMED' | 'PROOF_FORGED' | 'PROOF_STALE' | 'PROOF_MISMATCH'
export class ProofError extends CodedError<ProofErrorCode> {}

/** Name of the request header that carries the proof. */
export const proofHeader = 'Trustcast-Proof'

/** A P-256 public key (RFC 7518, 6.2.1): `x` and `y` are 32 bytes each, base64url. */
export interface ProofJwk {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
}

/** Web Crypto's key type, by whichever name the platform's declarations have it. */
export type ProofCryptoKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

/** An ECDSA P-256 pair; the private half need not be extractable. */
export interface ProofKeyPair {
  readonly privateKey: ProofCryptoKey
  readonly publicKey: ProofCryptoKey
}

/** What a proof is bound to. */
export interface ProvenRequest {
  /** Upper case, such as `POST`. */
  readonly method: string
  /** Path and query as they stand in the request line, without origin. */
  readonly path: string
  /** The exact body bytes; empty when there is no body. */
  readonly body: Uint8Array
}

export interface VerifiedProof {
  /** RFC 7638 thumbprint of the key that signed. The caller compares it with the web session's. */
  readonly thumbprint: string
  /** Unique to this request: the caller refuses a second use within the proof's age. */
  readonly jti: string
}

const maxProofChars = 4096
const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
const signing = { name: 'ECDSA', hash: 'SHA-256' } as const

/**
 * Makes the value of the `Trustcast-Proof` header for one request.
 *
 * @param request.nowMs the site's time as well as it is known, Unix ms
 * @param request.random 16 fresh random bytes
 */
export async function makeProof(
  request: ProvenRequest & {
    readonly keyPair: ProofKeyPair
    readonly nowMs: number
    readonly random: Uint8Array
  },
): Promise<string> {
  const header = {
    typ: 'trustcast-proof+jwt',
    alg: 'ES256',
    jwk: await exportProofKey(request.keyPair.publicKey),
  }
  const payload = {
    htm: request.method,
    htu: request.path,
    iat: Math.floor(request.nowMs / 1000),
    jti: encodeBase64url(request.random),
    bh: await sha256(request.body),
  }
  const signed = `${encodeJson(header)}.${encodeJson(payload)}`
  const signature = await crypto.subtle.sign(signing, request.keyPair.privateKey, encodeText(signed))
  return `${signed}.${encodeBase64url(new Uint8Array(signature))}`
}

/**
 * Verifies a proof against the request that carried it. The signature is checked before the payload is read.
 *
 * @param token value of the header, untrusted
 * @param expected.nowMs Unix time, ms
 * @param expected.maxAgeMs how far `iat` may lie from now, in either direction
 * @throws {ProofError} PROOF_MALFORMED, PROOF_FORGED, PROOF_STALE (outside of `maxAgeMs`), PROOF_MISMATCH (made for another request)
 */
export async function verifyProof(
  token: string,
  expected: ProvenRequest & { readonly nowMs: number; readonly maxAgeMs: number },
): Promise<VerifiedProof> {
  const parts = token.length > maxProofChars ? [] : token.split('.')
  const [header, payload, signature] = parts
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined) {
    throw malformed('three parts of base64url')
  }
  const jwk = parseHeader(parseJson(header))
  await verifySignature(jwk, `${header}.${payload}`, decodeBytes(signature))

  const claims = parsePayload(parseJson(payload))
  if (Math.abs(claims.iat * 1000 - expected.nowMs) > expected.maxAgeMs) {
    throw new ProofError('PROOF_STALE', 'the proof was made too long ago or by a clock that is wrong', {
      remedy: 'Check the clock of this computer.',
    })
  }
  const meant = claims.htm === expected.method && claims.htu === expected.path
  if (!meant || claims.bh !== (await sha256(expected.body))) {
    throw new ProofError('PROOF_MISMATCH', 'the proof was made for another request')
  }
  return { thumbprint: await thumbprint(jwk), jti: claims.jti }
}

/** The RFC 7638 thumbprint of a key: SHA-256 of its required members in order, base64url. */
export function thumbprint(jwk: ProofJwk): Promise<string> {
  return sha256(encodeText(JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y })))
}

/** The public half as the API's `proofKey`. */
export async function exportProofKey(publicKey: ProofCryptoKey): Promise<ProofJwk> {
  const { x = '', y = '' } = await crypto.subtle.exportKey('jwk', publicKey)
  return { kty: 'EC', crv: 'P-256', x, y }
}

async function verifySignature(
  jwk: ProofJwk,
  signed: string,
  signature: Uint8Array<ArrayBuffer>,
): Promise<void> {
  let key: ProofCryptoKey
  try {
    key = await crypto.subtle.importKey('jwk', { ...jwk }, algorithm, false, ['verify'])
  } catch (cause) {
    throw malformed('a key that is a point of P-256', cause)
  }
  if (!(await crypto.subtle.verify(signing, key, signature, encodeText(signed)))) {
    throw new ProofError('PROOF_FORGED', 'the key in the proof did not sign it')
  }
}

function parseHeader(value: Readonly<Record<string, unknown>>): ProofJwk {
  const { typ, alg, jwk, ...others } = value
  if (typ !== 'trustcast-proof+jwt' || alg !== 'ES256' || Object.keys(others).length > 0) {
    throw malformed('typ trustcast-proof+jwt, alg ES256 and jwk in the header')
  }
  const { kty, crv, x, y, ...more } = asRecord(jwk)
  if (kty !== 'EC' || crv !== 'P-256' || !isBytes(x, 43) || !isBytes(y, 43) || Object.keys(more).length > 0) {
    throw malformed('a public P-256 key in the header')
  }
  return { kty, crv, x, y }
}

interface Claims {
  readonly htm: string
  readonly htu: string
  readonly iat: number
  readonly jti: string
  readonly bh: string
}

function parsePayload(value: Readonly<Record<string, unknown>>): Claims {
  const { htm, htu, iat, jti, bh, ...others } = value
  if (
    typeof htm !== 'string' ||
    typeof htu !== 'string' ||
    !Number.isSafeInteger(iat) ||
    !isBytes(jti, 22) ||
    !isBytes(bh, 43) ||
    Object.keys(others).length > 0
  ) {
    throw malformed('htm, htu, iat, jti and bh in the payload')
  }
  return { htm, htu, iat: iat as number, jti, bh }
}

function parseJson(part: string): Readonly<Record<string, unknown>> {
  const bytes = decodeBytes(part)
  try {
    return asRecord(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch (cause) {
    throw cause instanceof ProofError ? cause : malformed('JSON in UTF-8', cause)
  }
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('a JSON object')
  return value as Readonly<Record<string, unknown>>
}

function isBytes(value: unknown, chars: number): value is string {
  return typeof value === 'string' && value.length === chars && /^[A-Za-z0-9_-]*$/.test(value)
}

function encodeJson(value: unknown): string {
  return encodeBase64url(encodeText(JSON.stringify(value)))
}

function encodeText(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text)
}

async function sha256(bytes: Uint8Array): Promise<string> {
  // A copy, because Web Crypto's types take no view of possibly shared memory. Bodies are small.
  return encodeBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes))))
}

function decodeBytes(text: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(decodeBase64url(text))
  } catch (cause) {
    throw malformed('parts in base64url', cause)
  }
}

function malformed(expected: string, cause?: unknown): ProofError {
  return new ProofError('PROOF_MALFORMED', `a proof has ${expected}`, { cause })
}
