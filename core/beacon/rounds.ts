import { type KeyObject, sign, verify } from 'node:crypto'
import { BeaconError } from './beacon-error.ts'

/**
 * How a beacon times an endpoint, over one connection of mutual TLS. Every message is one line of base64url:
 *
 *     endpoint → beacon   nonce                the site's challenge, 32 bytes
 *     beacon → endpoint   challenge            32 fresh bytes, 8 times
 *     endpoint → beacon   signature            its key over "trustcast-beacon-round" | 0 | nonce | challenge, 64 bytes
 *     beacon → endpoint   statement            a compact JWS (`statement.ts`)
 *
 * The time from a challenge to its answer is the round trip, and the shortest counts: a busy machine only seems further away.
 * Nobody can answer before the challenge has come to where the key is.
 */
export const rounds = 8

const context = Buffer.from('trustcast-beacon-round\0')
export const nonceBytes = 32
const signatureBytes = 64
export const maxLineChars = 1024

/** @param key private half of the key in the endpoint's certificate, P-256 */
export function answerRound(nonce: Uint8Array, challenge: Uint8Array, key: KeyObject): Uint8Array {
  return sign('sha256', Buffer.concat([context, nonce, challenge]), { key, dsaEncoding: 'ieee-p1363' })
}

/**
 * @param answer untrusted
 * @param key of the endpoint's certificate, proven by the connection
 * @throws {BeaconError} BEACON_UNPROVEN
 */
export function checkRound(
  round: { readonly nonce: Uint8Array; readonly challenge: Uint8Array },
  answer: Uint8Array,
  key: KeyObject,
): void {
  const signed = Buffer.concat([context, round.nonce, round.challenge])
  if (
    answer.length !== signatureBytes ||
    !verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, answer)
  )
    throw new BeaconError('BEACON_UNPROVEN', "the answer was not signed by the endpoint's key")
}

/**
 * @param line without its end, untrusted
 * @throws {BeaconError} BEACON_MALFORMED
 */
export function decodeBytes(line: string, bytes: number): Uint8Array {
  const decoded = /^[A-Za-z0-9_-]*$/.test(line) ? Buffer.from(line, 'base64url') : Buffer.alloc(0)
  if (decoded.length === bytes) return decoded
  throw new BeaconError(
    'BEACON_MALFORMED',
    `expected ${bytes} bytes in base64url, got ${line.length} characters`,
  )
}
