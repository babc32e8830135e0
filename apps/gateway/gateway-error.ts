import { CodedError } from '#core/errors/coded-error.ts'

export type GatewayErrorCode =
  | 'GATEWAY_NO_SUCH_PATH'
  | 'GATEWAY_NO_SUCH_PROTOCOL'
  | 'GATEWAY_FOREIGN_ORIGIN'
  | 'GATEWAY_HOST_REVOKED'
  | 'GATEWAY_HOST_AWAY'
  | 'GATEWAY_SPARES_FULL'
  | 'GATEWAY_BUSY'
  | 'GATEWAY_NOT_READY'
  | 'GATEWAY_BROKEN'

/** Why a gateway does not join two connections. */
export class GatewayError extends CodedError<GatewayErrorCode> {}
