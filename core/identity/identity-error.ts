import { CodedError } from '#core/errors/coded-error.ts'

export type IdentityErrorCode =
  | 'IDENTITY_PASSWORD_MALFORMED'
  | 'IDENTITY_PASSWORD_TOO_SHORT'
  | 'IDENTITY_PASSWORD_TOO_LONG'
  | 'IDENTITY_PASSWORD_COMMON'
  | 'IDENTITY_BAD_HASH'
  | 'IDENTITY_BUSY'

/** Why a password is not taken, or cannot be checked. That it is wrong is no error but a return value. */
export class IdentityError extends CodedError<IdentityErrorCode> {}
