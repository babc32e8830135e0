import { CodedError } from '#core/errors/coded-error.ts'

export type BytesErrorCode =
  /** The input ended before the value did. */
  | 'BYTES_SHORT'
  /** More bytes than allowed, or bytes after the end. */
  | 'BYTES_TOO_LONG'
  /** A number that does not fit its field. */
  | 'BYTES_RANGE'
  /** Text that is not the encoding it should be. */
  | 'BYTES_ENCODING'

export class BytesError extends CodedError<BytesErrorCode> {}
