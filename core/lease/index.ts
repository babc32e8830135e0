export {
  isRenewalDue,
  type LeaseState,
  leaseUntil,
  maxOpenLeases,
  openLeaseStates,
  pausedGraceMs,
  pausedSince,
} from './lease.ts'
export { LeaseError, type LeaseErrorCode } from './lease-error.ts'
export { type SealedFor, sealImageKey, unsealImageKey } from './sealed-key.ts'
export { decryptImageKey, encryptImageKey } from './stored-key.ts'
