import { CodedError } from '#core/errors/coded-error.ts'

export type NetworkErrorCode = 'NETWORK_BAD_DHCP' | 'NETWORK_BAD_OPTION' | 'NETWORK_BAD_TABLE'
export class NetworkError extends CodedError<NetworkErrorCode> {}
