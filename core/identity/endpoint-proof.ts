import { createHash, hash, type KeyObject } from 'node:crypto'
import { CodedError } from '#core/errors/coded-error.ts'
import { type CompactJws, makeCompactJws, readCompactJws } from './compact-jws.ts'

/**
 * Proof that a person's request was made on an enrolled endpoint: the endpoint's own key signs the proof that the person's key
 * made for the request (`proof.ts`), so it is good for that request alone, and as often: once.
 *
 * A compact JWS (RFC 7515) with ES256:
 *
 *     header   {typ: 'trustcast-endpoint+jwt', alg: 'ES256', kid: endpoint id}
 *     payload  {aud: site id, ph: SHA-256 of the person's proof as it stands in its header, iat: Unix time in s,
 *               exporter?: of the TLS connection that the request is sent over (RFC 9266), 32 bytes}
 *
 * Byte strings are base64url without padding. It says on which machine and over which connection, never how trustworthy these are: what
 * the site makes of it is the site's own knowledge of the machine, and of its own end of the connection.
 */

export type EndpointProofErrorCode =
  | 'ENDPOINT_PROOF_MALFORMED'
  | 'ENDPOINT_PROOF_FORGED'
  | 'ENDPOINT_PROOF_STALE'
  | 'ENDPOINT_PROOF_MISMATCH'
export class EndpointProofError extends CodedError<EndpointProofErrorCode> {}

/** Name of the request header that carries the proof. */
export const endpointProofHeader = 'Trustcast-Endpoint'
/** Name of the request header that carries a quote of the endpoint's TPM over its proof: JSON of an `Attestation`, base64url. */
export const attestationHeader = 'Trustcast-Attestation'

/** What a quote beside a proof is over: 32 bytes. The proof names its request, so the quote is good for that alone, too. */
export function quotedProof(token: string): Buffer {
  return createHash('sha256').update(`trustcast endpoint proof|${token}`).digest()
}

const type = 'trustcast-endpoint+jwt'
const maxProofChars = 1024
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const bytes32Pattern = /^[A-Za-z0-9_-]{43}$/

/**
 * @param request.proof value of the person's proof header of the same request
 * @param request.key private half of the key in the endpoint's certificate, P-256
 * @param request.nowMs the site's time as well as it is known, Unix ms
 * @param request.exporter of the connection that the request will be sent over, 32 bytes, base64url
 */
export function makeEndpointProof(request: {
  readonly endpointId: string
  readonly siteId: string
  readonly proof: string
  readonly key: KeyObject
  readonly nowMs: number
  readonly exporter?: string | undefined
}): string {
  const { endpointId, siteId, proof, key, nowMs, exporter } = request
  const payload = {
    aud: siteId,
    ph: hashOf(proof),
    iat: Math.floor(nowMs / 1000),
    ...(exporter === undefined ? {} : { exporter }),
  }
  return makeCompactJws({ typ: type, alg: 'ES256', kid: endpointId }, payload, key)
}

/**
 * Which endpoint a proof says it is of: what its key is looked up by, and nothing else before it is verified.
 *
 * @param token value of the header, untrusted
 * @throws {EndpointProofError} ENDPOINT_PROOF_MALFORMED
 */
export function claimedEndpoint(token: string): string {
  const { typ, alg, kid, ...others } = open(token).header
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
 * @returns over which connection the endpoint sent it, 32 bytes, base64url; undefined when it does not say
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
): { readonly exporter: string | undefined } {
  const jws = open(token)
  if (!jws.isSignedBy(expected.keys))
    throw new EndpointProofError('ENDPOINT_PROOF_FORGED', 'the endpoint that the proof names did not sign it')

  const { aud, ph, iat, exporter } = parsePayload(jws)
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
  return { exporter }
}

/**
 * What two ends of one connection tell when they are compared: whoever ends TLS between them has two connections, and cannot sign.
 *
 * @param endpoints exporter that the endpoint has signed; undefined when it signed none
 * @param sites of the site's end of the connection; undefined where a trusted proxy of the site ends the endpoint's
 */
export function compareExporters(
  endpoints: string | undefined,
  sites: string | undefined,
): 'none' | 'detected' | 'unknown' {
  if (endpoints === undefined || sites === undefined) return 'unknown'
  return endpoints === sites ? 'none' : 'detected'
}

function open(token: string): CompactJws {
  try {
    return readCompactJws(token, 'ES256', maxProofChars)
  } catch (cause) {
    throw malformed('three parts of base64url, the first a JSON object', cause)
  }
}

function parsePayload(jws: CompactJws): {
  aud: string
  ph: string
  iat: number
  exporter: string | undefined
} {
  const { aud, ph, iat, exporter, ...others } = payloadOf(jws)
  if (
    typeof aud !== 'string' ||
    typeof ph !== 'string' ||
    typeof iat !== 'number' ||
    !Number.isSafeInteger(iat) ||
    !isExporter(exporter) ||
    Object.keys(others).length > 0
  ) {
    throw malformed('aud, ph, iat and perhaps exporter in the payload')
  }
  return { aud, ph, iat, exporter }
}

function isExporter(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && bytes32Pattern.test(value))
}

function payloadOf(jws: CompactJws): Readonly<Record<string, unknown>> {
  try {
    return jws.payload()
  } catch (cause) {
    throw malformed('a payload that is a JSON object', cause)
  }
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url')
}

function malformed(expected: string, cause?: unknown): EndpointProofError {
  return new EndpointProofError('ENDPOINT_PROOF_MALFORMED', `an endpoint's proof has ${expected}`, { cause })
}
