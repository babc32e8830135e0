import { CodedError } from '#core/errors/coded-error.ts'

export type PkiErrorCode =
  | 'PKI_AUTHORITY_EXISTS'
  | 'PKI_AUTHORITY_MISSING'
  | 'PKI_AUTHORITY_BROKEN'
  | 'PKI_AUTHORITY_EXPIRED'
  | 'PKI_ROOT_OFFLINE'
  | 'PKI_OTHER_ROOT'
  | 'PKI_BAD_NAME'
  | 'PKI_BAD_LIFETIME'
  | 'PKI_BAD_REQUEST'
  | 'PKI_BAD_CERTIFICATE'
  | 'PKI_BAD_IDENTITY'
  | 'PKI_WRONG_SITE'
  | 'PKI_WRONG_PEER'
  | 'PKI_UNPROVEN_PEER'
  | 'PKI_BAD_TOKEN'
  | 'PKI_PIN_MISMATCH'

/** Why a certificate is not made, or not believed. */
export class PkiError extends CodedError<PkiErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<PkiErrorCode, string>>> = {
    PKI_BAD_CERTIFICATE: 'Name a file that holds one certificate in PEM.',
    PKI_AUTHORITY_MISSING: 'Name the state folder of a site, or put its `pki` back from the backup.',
  }
}
