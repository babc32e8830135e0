import { CodedError } from '#core/errors/coded-error.ts'

export type NbdErrorCode =
  /** The peer lost its place, or does not speak fixed newstyle NBD. */
  | 'NBD_BAD_MAGIC'
  /** Client flags that nobody offered. */
  | 'NBD_CLIENT_FLAGS'
  /** An option longer than `maximumOptionBytes`, or a write longer than `maximumPayloadBytes`. */
  | 'NBD_TOO_LONG'
  | 'NBD_TOO_MANY_OPTIONS'
  /** An option that this client, without fixed newstyle, cannot get an answer to. */
  | 'NBD_OPTION'
  /** NBD_OPT_EXPORT_NAME for an export that is not here; it has no other answer. */
  | 'NBD_UNKNOWN_EXPORT'
  /** NBD_OPT_EXPORT_NAME before TLS; it has no other answer. */
  | 'NBD_TLS_REQUIRED'
  /** Plain bytes behind NBD_OPT_STARTTLS, which would count as protected. */
  | 'NBD_BEFORE_TLS'

/** A client broke the protocol where no reply can say so: the connection must be dropped. */
export class NbdError extends CodedError<NbdErrorCode> {}
