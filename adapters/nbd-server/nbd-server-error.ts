import { CodedError } from '#core/errors/coded-error.ts'

export type NbdServerErrorCode =
  /** Another process answers on the unix socket. */
  | 'NBD_SOCKET_IN_USE'
  /** A listening socket that other machines could reach came without TLS. */
  | 'NBD_TLS_NEEDED'
  | 'NBD_TOO_MANY_CONNECTIONS'
  /** A client took too long over the handshake. */
  | 'NBD_HANDSHAKE_TIMEOUT'
  /** TLS did not come about; the cause says why. */
  | 'NBD_TLS_FAILED'
  /** The server is going away. */
  | 'NBD_CLOSING'

export class NbdServerError extends CodedError<NbdServerErrorCode> {}
