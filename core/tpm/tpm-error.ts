import { CodedError } from '#core/errors/coded-error.ts'

export type TpmErrorCode =
  /** Bytes that are no structure of a TPM. */
  | 'TPM_MALFORMED'
  /** A structure that is well formed and of a kind that is not used here. */
  | 'TPM_UNSUPPORTED'
  /** A key whose attributes do not hold it in its TPM, or that signs what is not of the TPM. */
  | 'TPM_KEY_UNFIT'
  | 'TPM_QUOTE_FORGED'
  | 'TPM_QUOTE_WRONG_NONCE'
  | 'TPM_QUOTE_WRONG_PCRS'
  | 'TPM_LOG_MALFORMED'
  | 'TPM_LOG_MISMATCH'
  | 'TPM_EK_UNTRUSTED'
  | 'TPM_EK_MISMATCH'
  /** The site knows no authority of TPMs. */
  | 'TPM_NOT_CONFIGURED'
  | 'TPM_ACTIVATION_UNKNOWN'
  | 'TPM_ACTIVATION_FAILED'
  /** The endpoint is enrolled with a TPM and came without a quote. */
  | 'TPM_ATTESTATION_MISSING'
  | 'TPM_NOT_ENROLLED'
  /** The TPM's clock is behind what it said before. */
  | 'TPM_PUT_BACK'

/** Why something that is said to come from a TPM is not believed. */
export class TpmError extends CodedError<TpmErrorCode> {}

/** @param what a structure, by the name the specification gives it */
export function malformed(what: string, cause?: unknown): TpmError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new TpmError('TPM_MALFORMED', `expected a ${what}${why}`, { cause })
}
