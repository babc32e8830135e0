import type { KeyObject } from 'node:crypto'
import { sayable } from '#core/agent/agent-text.ts'
import { type CompactJws, makeCompactJws, readCompactJws } from '#core/identity/compact-jws.ts'
import { isClaimName } from '#core/trust/index.ts'
import { type EvidenceError, refused } from './evidence-error.ts'
import type { Observation } from './observation.ts'

/**
 * What an endpoint states about itself: a compact JWS (RFC 7515) with ES256 by the key of its certificate.
 *
 *     header   {typ: 'trustcast-evidence+jwt', alg: 'ES256', kid: endpoint id}
 *     payload  EvidenceStatement
 *
 * It proves who speaks, when (the site's nonce), over which connection (the exporter) and after what (sequence and ratchet); never
 * that what it observes is true (I5).
 */
export interface EvidenceStatement {
  /** Id of the endpoint. */
  readonly endpoint: string
  /** Id of the site. */
  readonly site: string
  /** The site's challenge, 32 bytes, base64url; good once. */
  readonly nonce: string
  /** Counts this endpoint's statements, from 1; kept on its disk, never used twice. */
  readonly sequence: number
  /** What the site gave with its last acceptance that this endpoint heard of; absent before the first. */
  readonly previous?: string
  /** The endpoint's wall clock, Unix ms. */
  readonly at: number
  /** TLS exporter of the connection it is sent over (RFC 9266), 32 bytes, base64url. */
  readonly exporter: string
  readonly observations: readonly Observation[]
  /** What a beacon near the endpoint has signed over the nonce. */
  readonly beacon?: string
}

const type = 'trustcast-evidence+jwt'
export const maxObservations = 100
export const maxDetailChars = 300
export const maxStatementChars = 128 * 1024
export const maxBeaconChars = 4096
const maxNameChars = 64
const bytes32Pattern = /^[A-Za-z0-9_-]{43}$/

/** @param key private half of the key in the endpoint's certificate, P-256 */
export function makeEvidence(statement: EvidenceStatement, key: KeyObject): string {
  return makeCompactJws({ typ: type, alg: 'ES256', kid: statement.endpoint }, statement, key)
}

/**
 * Verifies and then reads a statement. Observations about claims that the vocabulary lacks are left out: the endpoint may be newer.
 *
 * @param token untrusted
 * @param endpointId whose connection it came over
 * @param keys public keys of that endpoint
 * @throws {EvidenceError} EVIDENCE_MALFORMED, EVIDENCE_OTHER_ENDPOINT, EVIDENCE_FORGED
 */
export function verifyEvidence(
  token: string,
  endpointId: string,
  keys: readonly KeyObject[],
): EvidenceStatement {
  const jws = read(token)
  const { typ, alg, kid, ...others } = jws.header
  if (typ !== type || alg !== 'ES256' || typeof kid !== 'string' || Object.keys(others).length > 0)
    throw malformed(`typ ${type}, alg ES256 and kid in the header`)
  if (kid !== endpointId)
    throw refused('EVIDENCE_OTHER_ENDPOINT', 'the evidence says that it is of another endpoint')
  if (!jws.isSignedBy(keys))
    throw refused('EVIDENCE_FORGED', 'the endpoint that the evidence names did not sign it')
  const statement = readStatement(payloadOf(jws))
  if (statement.endpoint !== endpointId)
    throw refused('EVIDENCE_OTHER_ENDPOINT', 'the evidence is about another endpoint')
  return statement
}

const fields: readonly string[] = [
  'endpoint',
  'site',
  'nonce',
  'sequence',
  'previous',
  'at',
  'exporter',
  'observations',
  'beacon',
]

function readStatement(value: Readonly<Record<string, unknown>>): EvidenceStatement {
  if (!Object.keys(value).every((name) => fields.includes(name))) throw malformed('known fields alone')
  const { endpoint, site, nonce, sequence, previous, at, exporter, observations, beacon } = value
  if (!isText(endpoint, maxNameChars) || !isText(site, maxNameChars)) throw malformed('endpoint and site')
  if (!isBytes32(nonce) || !isBytes32(exporter)) throw malformed('32 bytes as nonce and as exporter')
  if (!isCount(sequence) || sequence < 1 || !isCount(at)) throw malformed('whole numbers as sequence and at')
  if (previous !== undefined && !isText(previous, 2 * maxNameChars)) throw malformed('a text as previous')
  if (beacon !== undefined && !isText(beacon, maxBeaconChars)) throw malformed('a text as beacon')
  if (!Array.isArray(observations) || observations.length > maxObservations)
    throw malformed(`at most ${maxObservations} observations`)
  return {
    endpoint,
    site,
    nonce,
    sequence,
    at,
    exporter,
    observations: observations.flatMap(readObservation),
    ...(previous === undefined ? {} : { previous }),
    ...(beacon === undefined ? {} : { beacon }),
  }
}

function readObservation(item: unknown): readonly Observation[] {
  if (!isRecord(item) || Object.keys(item).length !== 4) throw malformed('claim, value, collector and detail')
  const { claim, value, collector, detail } = item
  if (
    ![claim, value, collector].every((text) => isText(text, maxNameChars)) ||
    !isText(detail, maxDetailChars)
  )
    throw malformed(`texts in an observation, its detail of at most ${maxDetailChars} characters`)
  const said = { claim, value, collector, detail } as Observation
  if (!isClaimName(said.claim)) return []
  return [
    {
      claim: said.claim,
      value: sayable(said.value),
      collector: sayable(said.collector),
      detail: sayable(said.detail),
    },
  ]
}

function read(token: string): CompactJws {
  try {
    return readCompactJws(token, 'ES256', maxStatementChars)
  } catch (cause) {
    throw malformed(
      `three parts of base64url, ${maxStatementChars} characters at most, the first a JSON object`,
      cause,
    )
  }
}

function payloadOf(jws: CompactJws): Readonly<Record<string, unknown>> {
  try {
    return jws.payload()
  } catch (cause) {
    throw malformed('a payload that is a JSON object', cause)
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText(value: unknown, maxChars: number): value is string {
  return typeof value === 'string' && value.length <= maxChars
}

function isBytes32(value: unknown): value is string {
  return typeof value === 'string' && bytes32Pattern.test(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function malformed(expected: string, cause?: unknown): EvidenceError {
  return refused('EVIDENCE_MALFORMED', `evidence has ${expected}`, cause)
}
