import { CodedError } from '#core/errors/coded-error.ts'

export type LeaseErrorCode =
  | 'LEASE_WITHDRAWN'
  | 'LEASE_EXPIRED'
  | 'LEASE_ENDED'
  | 'LEASE_KEY_UNREADABLE'
  | 'LEASE_SECRET_UNUSABLE'

/** Why an endpoint may not, or no longer, read what it held under a lease. */
export class LeaseError extends CodedError<LeaseErrorCode> {}
