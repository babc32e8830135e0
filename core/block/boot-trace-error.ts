import { CodedError } from '#core/errors/coded-error.ts'

export type TraceErrorCode =
  /** The bytes are not a boot trace, or one that says the same in another way. */
  | 'TRACE_MALFORMED'
  /** The trace has more bytes or ranges than one may have. */
  | 'TRACE_TOO_LARGE'
  /** The trace reads beyond the end of the disk: it was recorded on another. */
  | 'TRACE_BEYOND_DISK'

/** What is wrong with a boot trace. */
export class TraceError extends CodedError<TraceErrorCode> {}
