import type { KeyObject } from 'node:crypto'
import { compareExporters } from '#core/identity/endpoint-proof.ts'
import { refused } from './evidence-error.ts'
import { advanceRatchet, type Ratchet } from './ratchet.ts'
import { type EvidenceStatement, verifyEvidence } from './statement.ts'

/** How often an endpoint reports when nothing changes. */
export const evidencePeriodMs = 60_000
/** An endpoint that was not heard of for two periods is silent. */
export const evidenceSilenceMs: number = 2 * evidencePeriodMs
/** For the way there and a device that was asleep for a moment. */
const challengeLifeMs = evidenceSilenceMs
/** How far an endpoint's clock may be from the site's. */
export const maxClockSkewMs = 60_000

/** A nonce that one connection was given and that no statement has used yet. */
export interface Challenge {
  /** 32 bytes, base64url. */
  readonly nonce: string
  /** Unix time, ms. */
  readonly issuedAt: number
}

export interface EvidenceExpected {
  /** Whose connection the statement came over, as its certificate has proven. */
  readonly endpointId: string
  readonly siteId: string
  /** Public keys of the endpoint's certificates. */
  readonly keys: readonly KeyObject[]
  readonly challenge: Challenge | undefined
  readonly ratchet: Ratchet | undefined
  /** Of the site; ratchet tokens are made with it. */
  readonly secret: KeyObject
  /** Of the site's end of the connection, 32 bytes, base64url; undefined when a proxy of ours stands before it. */
  readonly exporter: string | undefined
  /** Unix time, ms. */
  readonly nowMs: number
}

/** What the site itself sees while it takes evidence: nobody can report it for an endpoint. */
export interface EvidenceSeen {
  readonly clock: 'right' | 'wrong'
  readonly interception: 'none' | 'detected' | 'unknown'
}

/** Evidence that holds. Made only here. */
export interface AcceptedEvidence {
  readonly statement: EvidenceStatement
  readonly ratchet: Ratchet
  readonly seen: EvidenceSeen
}

/**
 * @param token the statement, untrusted
 * @throws {EvidenceError} any of its codes
 */
export function acceptEvidence(token: string, expected: EvidenceExpected): AcceptedEvidence {
  const { endpointId, siteId, challenge, nowMs, secret } = expected
  const statement = verifyEvidence(token, endpointId, expected.keys)
  if (statement.site !== siteId) throw refused('EVIDENCE_OTHER_SITE', 'the evidence is for another site')
  if (statement.nonce !== challenge?.nonce)
    throw refused('EVIDENCE_REPLAYED', 'the evidence answers no challenge that is open on this connection')
  if (nowMs - challenge.issuedAt > challengeLifeMs)
    throw refused('EVIDENCE_STALE', 'the evidence answers a challenge that is too old')
  const { sequence, previous } = statement
  const ratchet = advanceRatchet(expected.ratchet, { sequence, previous }, { secret, endpointId })
  return { statement, ratchet, seen: seenWith(statement, expected) }
}

/** @returns what the two ends of the connection and the two clocks say */
export function seenWith(
  { exporter, at }: Pick<EvidenceStatement, 'exporter' | 'at'>,
  expected: Pick<EvidenceExpected, 'exporter' | 'nowMs'>,
): EvidenceSeen {
  return {
    clock: Math.abs(at - expected.nowMs) > maxClockSkewMs ? 'wrong' : 'right',
    interception: compareExporters(exporter, expected.exporter),
  }
}
