import { hash, type KeyObject, sign, verify } from 'node:crypto'
import { CodedError } from '#core/errors/coded-error.ts'

/**
 * Proof that a person's request was made on an enrolled endpoint: the endpoint's own key signs the proof that the person's key
 * made for the request (`proof.ts`), so it is good for that request alone, and as often: once.
 *
 * A compact JWS (RFC 7515) with ES256:
 *
 *     header   {typ: 'trustcast-endpoint+jwt', alg: 'ES256', kid: endpoint id}
 *     payload  {aud: site id, ph: SHA-256 of the person's proof as it stands in its header, iat: Unix time in s}
 *
 * Byte strings are base64url without padding. It says on which machine, never how trustworthy that is: what the site makes of it
 * is the site's own knowledge of the machine.
 */

export type EndpointProofErrorCode =
  | 'ENDPOINT_PROOF_MALFORMED'
  | 'ENDPOINT_PROOF_FORGED'
  | 'ENDPOINT_PROOF_STALE'
  | 'ENDPOINT_PROOF_MISMATCH'
export class EndpointProofError extends CodedError<EndpointProofErrorCode> {}

/** Name of the request header that carries the proof. */
export const endpointProofHeader = 'Trustcast-Endpoint'

const type = 'trustcast-endpoint+jwt'
const maxProofChars = 1024
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const base64urlPattern = /^[A-Za-z0-9_-]*$/
const signatureBytes = 64

/**
 * @param request.proof value of the person's proof header of the same request
 * @param request.key private half of the key in the endpoint's certificate, P-256
 * @param request.nowMs the site's time as well as it is known, Unix ms
 */
export function makeEndpointProof(request: {
  readonly endpointId: string
  readonly siteId: string
  readonly proof: string
  readonly key: KeyObject
  readonly nowMs: number
}): string {
  const { endpointId, siteId, proof, key, nowMs } = request
  const header = { typ: type, alg: 'ES256', kid: endpointId }
  const payload = { aud: siteId, ph: hashOf(proof), iat: Math.floor(nowMs / 1000) }
  const signed = `${encodeJson(header)}.${encodeJson(payload)}`
  const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' })
  return `${signed}.${signature.toString('base64url')}`
}

/**
 * Which endpoint a proof says it is of: what its key is looked up by, and nothing else before it is verified.
 *
 * @param token value of the header, untrusted
 * @throws {EndpointProofError} ENDPOINT_PROOF_MALFORMED
 */
export function claimedEndpoint(token: string): string {
  const { typ, alg, kid, ...others } = parseJson(partsOf(token)[0])
  if (typ !== type || alg !== 'ES256' || Object.keys(others).length > 0)
    throw malformed(`typ ${type}, alg ES256 and kid in the header`)
  if (typeof kid !== 'string' || !uuidPattern.test(kid)) throw malformed('the id of an endpoint as kid')
  return kid
}

/**
 * Verifies a proof by the keys that the site knows of the endpoint which it names. The signature is checked before the payload is read.
 *
 * @param token value of the header, untrusted
 * @param expected.keys public keys of the endpoint's certificates that have not expired
 * @param expected.proof value of the person's proof header of the same request, verified
 * @param expected.nowMs Unix time, ms
 * @param expected.maxAgeMs how far `iat` may lie from now, in either direction
 * @throws {EndpointProofError} ENDPOINT_PROOF_MALFORMED, ENDPOINT_PROOF_FORGED, ENDPOINT_PROOF_STALE, ENDPOINT_PROOF_MISMATCH (made for
 *   another request or site)
 */
export function verifyEndpointProof(
  token: string,
  expected: {
    readonly keys: readonly KeyObject[]
    readonly siteId: string
    readonly proof: string
    readonly nowMs: number
    readonly maxAgeMs: number
  },
): void {
  const [header, payload, signature] = partsOf(token)
  const bytes = Buffer.from(signature, 'base64url')
  const signed = Buffer.from(`${header}.${payload}`)
  const isSigned = expected.keys.some((key) =>
    verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, bytes),
  )
  if (bytes.length !== signatureBytes || !isSigned)
    throw new EndpointProofError('ENDPOINT_PROOF_FORGED', 'the endpoint that the proof names did not sign it')

  const { aud, ph, iat } = parsePayload(parseJson(payload))
  if (Math.abs(iat * 1000 - expected.nowMs) > expected.maxAgeMs)
    throw new EndpointProofError(
      'ENDPOINT_PROOF_STALE',
      "the endpoint's proof was made too long ago or by a clock that is wrong",
      { remedy: 'Check the clock of this computer.' },
    )
  if (aud !== expected.siteId || ph !== hashOf(expected.proof))
    throw new EndpointProofError(
      'ENDPOINT_PROOF_MISMATCH',
      "the endpoint's proof was made for another request",
    )
}

function partsOf(token: string): readonly [string, string, string] {
  const [header, payload, signature, ...more] = token.length > maxProofChars ? [] : token.split('.')
  const parts = [header, payload, signature]
  if (more.length > 0 || !parts.every((part) => part !== undefined && base64urlPattern.test(part)))
    throw malformed('three parts of base64url')
  return parts as [string, string, string]
}

function parsePayload(value: Readonly<Record<string, unknown>>): { aud: string; ph: string; iat: number } {
  const { aud, ph, iat, ...others } = value
  if (
    typeof aud !== 'string' ||
    typeof ph !== 'string' ||
    !Number.isSafeInteger(iat) ||
    Object.keys(others).length > 0
  ) {
    throw malformed('aud, ph and iat in the payload')
  }
  return { aud, ph, iat: iat as number }
}

function parseJson(part: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(part, 'base64url').toString())
  } catch (cause) {
    throw malformed('parts that are JSON', cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('JSON objects')
  return value as Readonly<Record<string, unknown>>
}

function encodeJson(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url')
}

function malformed(expected: string, cause?: unknown): EndpointProofError {
  return new EndpointProofError('ENDPOINT_PROOF_MALFORMED', `an endpoint's proof has ${expected}`, { cause })
}
