export { type ClockInfo, decodeQuote, type Quote } from './attest.ts'
export { type Attestation, type Attested, attestation, type Boot, maxEventLogBytes } from './attestation.ts'
export {
  type BootComponent,
  bootDifference,
  bootOf,
  commandLinesIn,
  isSameBoot,
  quotedPcrs,
  secureBootOf,
} from './boot-state.ts'
export { type Credential, makeCredential } from './credential.ts'
export { verifyEndorsement } from './ek-certificate.ts'
export { decodeEventLog, EV, type EventLog, type MeasuredEvent, replay, requireMatch } from './event-log.ts'
export {
  decodePublicArea,
  nameOf,
  type PublicArea,
  requireAttestationKey,
} from './public-area.ts'
export { type PcrValues, type VerifiedQuote, verifyQuote } from './quote.ts'
export { requestHash } from './request-hash.ts'
export { TpmError, type TpmErrorCode } from './tpm-error.ts'
