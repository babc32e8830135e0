import { createPublicKey, hash, type KeyObject } from 'node:crypto'
import { type CompactJws, makeCompactJws, readCompactJws } from '#core/identity/compact-jws.ts'
import { BeaconError } from './beacon-error.ts'

/**
 * What a beacon says of an endpoint that it has timed: a compact JWS (RFC 7515) with EdDSA by the beacon's Ed25519 key.
 *
 *     header   {typ: 'trustcast-beacon+jwt', alg: 'EdDSA'}
 *     payload  BeaconStatement
 *
 * It proves that whoever holds the endpoint's key was no further away than half the round trip, at the speed of light in the medium, at
 * most. The nonce is the site's and good once, so a statement cannot be kept for later.
 */
export interface BeaconStatement {
  /** The site's challenge, 32 bytes, base64url. */
  readonly nonce: string
  /** Id of the endpoint, as its certificate names it. */
  readonly endpoint: string
  /** Of the key that answered the challenges, see `keyThumbprint`. */
  readonly thumbprint: string
  /** Shortest of the round trips that the beacon measured, ms. */
  readonly rttMs: number
  /** The beacon's clock, Unix ms. */
  readonly at: number
}

const type = 'trustcast-beacon+jwt'
export const maxBeaconStatementChars = 1024
/** How far the beacon's clock may be from the site's, together with the time that a report takes. */
const maxAgeMs = 120_000
const bytes32Pattern = /^[A-Za-z0-9_-]{43}$/
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** @param key the beacon's Ed25519 key */
export function makeBeaconStatement(statement: BeaconStatement, key: KeyObject): string {
  return makeCompactJws({ typ: type, alg: 'EdDSA' }, statement, key)
}

/** What the site compares a beacon's word with. */
export interface BeaconExpected {
  /** Its challenge that the endpoint's report answers. */
  readonly nonce: string
  readonly endpointId: string
  /** Of the endpoint's keys: `keyThumbprint`. It has two while its certificate is renewed. */
  readonly thumbprints: readonly string[]
  /** The beacon's public key, 32 bytes, base64url, as the zone's definition has it. */
  readonly key: string
  readonly maxRttMs: number
  /** Unix time, ms. */
  readonly nowMs: number
}

/**
 * Verifies and then reads what a beacon says. The signature is checked before the payload is read.
 *
 * @param token untrusted
 * @throws {BeaconError} BEACON_MALFORMED, BEACON_FORGED, BEACON_REPLAYED, BEACON_OTHER_ENDPOINT, BEACON_STALE, BEACON_RELAYED
 */
export function verifyBeacon(token: string, expected: BeaconExpected): BeaconStatement {
  const jws = open(token)
  if (!jws.isSignedBy([beaconKey(expected.key)]))
    throw new BeaconError('BEACON_FORGED', 'the beacon of this zone did not sign it')
  const statement = read(jws)
  const { nonce, endpoint, thumbprint, rttMs, at } = statement
  if (nonce !== expected.nonce)
    throw new BeaconError('BEACON_REPLAYED', 'the beacon spoke about another report')
  if (endpoint !== expected.endpointId || !expected.thumbprints.includes(thumbprint))
    throw new BeaconError('BEACON_OTHER_ENDPOINT', 'the beacon spoke about another endpoint')
  if (Math.abs(expected.nowMs - at) > maxAgeMs)
    throw new BeaconError('BEACON_STALE', "the beacon spoke too long ago, or its clock is not the site's", {
      remedy: 'Check the clock of the beacon.',
    })
  if (rttMs > expected.maxRttMs)
    throw new BeaconError(
      'BEACON_RELAYED',
      `the endpoint answered the beacon in ${rttMs.toFixed(1)} ms, at most ${expected.maxRttMs} ms is near`,
      { remedy: "Connect this device to the zone's own network, by cable where wireless is too slow." },
    )
  return statement
}

/** What a public key is called in a statement: SHA-256 of its SubjectPublicKeyInfo (DER), base64url. */
export function keyThumbprint(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return hash('sha256', publicKey.export({ format: 'der', type: 'spki' }), 'base64url')
}

/**
 * @param text 32 bytes, base64url, from a zone's definition
 * @throws {BeaconError} BEACON_MALFORMED
 */
export function beaconKey(text: string): KeyObject {
  if (!bytes32Pattern.test(text))
    throw new BeaconError('BEACON_MALFORMED', 'a beacon has a key of 32 bytes in base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: text }, format: 'jwk' })
}

function open(token: string): CompactJws {
  try {
    const jws = readCompactJws(token, 'EdDSA', maxBeaconStatementChars)
    const { typ, alg, ...others } = jws.header
    if (typ === type && alg === 'EdDSA' && Object.keys(others).length === 0) return jws
  } catch (cause) {
    throw malformed(cause)
  }
  throw malformed()
}

function read(jws: CompactJws): BeaconStatement {
  const { nonce, endpoint, thumbprint, rttMs, at, ...others } = jws.payload()
  if (
    isText(nonce, bytes32Pattern) &&
    isText(endpoint, uuidPattern) &&
    isText(thumbprint, bytes32Pattern) &&
    typeof rttMs === 'number' &&
    rttMs >= 0 &&
    typeof at === 'number' &&
    Number.isSafeInteger(at) &&
    Object.keys(others).length === 0
  )
    return { nonce, endpoint, thumbprint, rttMs, at }
  throw malformed()
}

function isText(value: unknown, pattern: RegExp): value is string {
  return typeof value === 'string' && pattern.test(value)
}

function malformed(cause?: unknown): BeaconError {
  return new BeaconError(
    'BEACON_MALFORMED',
    'expected a statement of a beacon: nonce, endpoint, thumbprint, rttMs, at',
    {
      cause,
    },
  )
}
