import { CodedError } from '#core/errors/coded-error.ts'

export type RfbErrorCode =
  | 'RFB_BAD_HANDSHAKE'
  | 'RFB_UNKNOWN_MESSAGE'
  | 'RFB_UNKNOWN_ENCODING'
  | 'RFB_MALFORMED'
  | 'RFB_TOO_LONG'
  | 'RFB_PIXEL_FORMAT'
  | 'RFB_FROZEN'
  | 'RFB_BROKEN'

/** A peer sent what the filter does not know or does not accept: the connection must be dropped. */
export class RfbError extends CodedError<RfbErrorCode> {}
