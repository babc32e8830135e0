export {
  type AttestationKey,
  type Endorsement,
  findTpm,
  openTpm,
  type RawQuote,
  type Tpm,
  type TpmPlace,
} from './tpm.ts'
export { TpmDeviceError, type TpmDeviceErrorCode } from './tpm-device-error.ts'
