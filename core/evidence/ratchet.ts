import { createHmac, type KeyObject } from 'node:crypto'
import { constantTimeEqual } from '#core/bytes/index.ts'
import { refused } from './evidence-error.ts'

/**
 * Finds two machines with one identity, and a machine that was put back: with each acceptance the site gives a token, and the next
 * statement must bring the newest one that its endpoint can have. Both ends keep it on disk.
 *
 *     token for acceptance n of endpoint e   `n.` HMAC-SHA256(site's secret, "trustcast evidence" | e | n), base64url
 *
 * The site keeps two numbers of each endpoint. It need not write them down before it answers: a token that is ahead of them is still
 * its own word.
 */
export interface Ratchet {
  /** Of the last accepted statement. */
  readonly sequence: number
  /** The acceptance that this statement brought: its endpoint may not have heard of a later one. */
  readonly basis: number
}

/** @param secret of the site, 32 bytes */
export function ratchetToken(secret: KeyObject, endpointId: string, sequence: number): string {
  const mac = createHmac('sha256', secret).update(`trustcast evidence|${endpointId}|${sequence}`)
  return `${sequence}.${mac.digest('base64url')}`
}

/**
 * @param known what the site holds of the endpoint; undefined before its first statement, and when an admin lets it begin anew
 * @throws {EvidenceError} EVIDENCE_FORKED
 */
export function advanceRatchet(
  known: Ratchet | undefined,
  next: { readonly sequence: number; readonly previous: string | undefined },
  made: { readonly secret: KeyObject; readonly endpointId: string },
): Ratchet {
  const basis = next.previous === undefined ? 0 : acceptanceOf(next.previous, made)
  return follow(known, { sequence: next.sequence, basis })
}

/**
 * What `advanceRatchet` does once the token was checked: for a statement that was accepted while somebody else may have accepted another.
 *
 * @throws {EvidenceError} EVIDENCE_FORKED
 */
export function follow(known: Ratchet | undefined, next: Ratchet): Ratchet {
  const { sequence, basis } = next
  if (known === undefined) return next
  if (sequence <= known.sequence)
    throw refused(
      'EVIDENCE_FORKED',
      `expected a statement after number ${known.sequence}, got a fresh one with number ${sequence}`,
    )
  // One behind when the last answer was lost; ahead when the site's own books were put back.
  if (basis < known.sequence && basis !== known.basis)
    throw refused(
      'EVIDENCE_FORKED',
      `expected what came with acceptance ${known.sequence} or ${known.basis}, got that of ${basis}`,
    )
  return next
}

function acceptanceOf(
  token: string,
  { secret, endpointId }: { readonly secret: KeyObject; readonly endpointId: string },
): number {
  const [, digits = ''] = /^([1-9]\d{0,15})\.[A-Za-z0-9_-]{43}$/.exec(token) ?? []
  const sequence = Number(digits)
  const expected = Buffer.from(ratchetToken(secret, endpointId, sequence))
  if (digits === '' || !constantTimeEqual(expected, Buffer.from(token)))
    throw refused('EVIDENCE_FORKED', 'the evidence builds on an acceptance that this site never gave')
  return sequence
}
