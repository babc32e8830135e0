import { CodedError } from '#core/errors/coded-error.ts'

export type TpmDeviceErrorCode =
  | 'TPM_TOOLS_MISSING'
  | 'TPM_DEVICE_ABSENT'
  | 'TPM_DEVICE_DENIED'
  | 'TPM_DEVICE_TIMEOUT'
  | 'TPM_DEVICE_LOCKED'
  | 'TPM_DEVICE_OWNED'
  | 'TPM_DEVICE_FULL'
  | 'TPM_DEVICE_BROKEN'
  | 'TPM_DEVICE_FAILED'
  /** The TPM has no such key: it is not the one that the machine was enrolled with, or it was cleared. */
  | 'TPM_KEY_GONE'
  /** The credential is for another TPM or another key. */
  | 'TPM_CREDENTIAL_REFUSED'
  | 'TPM_NO_CERTIFICATE'

/** Why this machine's TPM does not do what it is asked. */
export class TpmDeviceError extends CodedError<TpmDeviceErrorCode> {}
