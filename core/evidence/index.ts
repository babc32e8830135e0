export {
  type AcceptedEvidence,
  acceptEvidence,
  type Challenge,
  type EvidenceExpected,
  type EvidenceSeen,
  evidencePeriodMs,
  evidenceSilenceMs,
  seenWith,
} from './accept-evidence.ts'
export {
  type AttestedValues,
  beforeTheFall,
  type ClaimChange,
  changesBetween,
  claimsOf,
  type EndpointKnowledge,
  evidentClaimNames,
  type Fallen,
  fallenAfter,
  hasWorsened,
  noKnowledge,
  type SystemStatement,
  settledClaims,
  statableClaims,
} from './claims-of.ts'
export { EvidenceError, type EvidenceErrorCode } from './evidence-error.ts'
export {
  type Collector,
  type CollectorFailure,
  failureOf,
  faultsIn,
  holdFaults,
  type Observation,
} from './observation.ts'
export { follow, type Ratchet, ratchetToken } from './ratchet.ts'
export {
  type EvidenceStatement,
  makeEvidence,
  maxObservations,
  maxStatementChars,
  verifyEvidence,
} from './statement.ts'
