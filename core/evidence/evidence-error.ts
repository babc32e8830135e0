import { CodedError } from '#core/errors/coded-error.ts'

/** Why a site does not take evidence, each with its own code. */
export type EvidenceErrorCode =
  /** No statement at all. */
  | 'EVIDENCE_MALFORMED'
  /** Not signed by a key of the endpoint that brought it. */
  | 'EVIDENCE_FORGED'
  /** Made for another site. */
  | 'EVIDENCE_OTHER_SITE'
  /** About another endpoint than the one that brought it. */
  | 'EVIDENCE_OTHER_ENDPOINT'
  /** Answers no challenge that is open on this connection: used before, or cut from another one. */
  | 'EVIDENCE_REPLAYED'
  /** Answers a challenge that is too old. */
  | 'EVIDENCE_STALE'
  /** Another machine has the same key, or this one was put back to an older state. */
  | 'EVIDENCE_FORKED'
  /** Sent over another connection than it came by: somebody between opens them. It is taken, and what it says of that counts. */
  | 'EVIDENCE_OTHER_CONNECTION'
export class EvidenceError extends CodedError<EvidenceErrorCode> {}

/** What a person or admin does about each. */
const remedies: Readonly<Partial<Record<EvidenceErrorCode, string>>> = {
  EVIDENCE_STALE: 'Nothing: the next report answers a fresh challenge.',
  EVIDENCE_FORKED:
    'If this device was copied, revoke it and enrol each copy. If it was put back from a backup, an admin may let it begin anew.',
}

export function refused(code: EvidenceErrorCode, why: string, cause?: unknown): EvidenceError {
  const remedy = remedies[code]
  return new EvidenceError(code, why, { cause, ...(remedy === undefined ? {} : { remedy }) })
}
