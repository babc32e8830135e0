import { CodedError } from '#core/errors/coded-error.ts'

export type TlsErrorCode =
  /** A record that was not protected with the keys and the number that it should have. */
  | 'TLS_BAD_RECORD'
  /** A record that is longer than TLS allows. */
  | 'TLS_RECORD_OVERFLOW'
  /** A record or a message that has no place after the handshake. */
  | 'TLS_UNEXPECTED'
  /** The peer gave up, by an alert. */
  | 'TLS_ALERT'

export class TlsError extends CodedError<TlsErrorCode> {}
