import { CodedError } from '#core/errors/coded-error.ts'

export type HandoffErrorCode =
  /** A page of another site asked, or nobody said which page asked. */
  | 'DEVICE_ORIGIN_REFUSED'
  /** The name that was asked for is not this machine itself: a name that was made to point here. */
  | 'DEVICE_HOST_REFUSED'
  | 'DEVICE_NOT_JSON'
  | 'DEVICE_TOO_LARGE'
  | 'DEVICE_NO_ROUTE'
  /** A WebSocket that brings none, or more than one. */
  | 'DEVICE_NO_TICKET'
  | 'DEVICE_URL_MALFORMED'
export class HandoffError extends CodedError<HandoffErrorCode> {}
