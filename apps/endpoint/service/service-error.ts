import { CodedError } from '#core/errors/coded-error.ts'

export type ServiceErrorCode =
  /** Nobody is known who could run it: the asking program is root's or cannot be seen, and no account was named. */
  | 'SERVICE_NO_ACCOUNT'
  | 'SERVICE_TOO_FAST'
  /** The body is not what is expected. */
  | 'SERVICE_BAD_REQUEST'
  /** This machine was enrolled before identities held the site's address. */
  | 'SERVICE_NO_SITE'
  | 'SERVICE_FULL'
  /** Nothing with a screen runs under this session for the account that asks. */
  | 'SERVICE_NO_SCREEN'
  /** A ticket for a screen that was never given out, is used or too old, or was given to another account. */
  | 'SERVICE_TICKET_REFUSED'
  /** Another program listens where browsers ask for this service. */
  | 'SERVICE_PORT_TAKEN'
  /** The site gave something that this version cannot open. */
  | 'SERVICE_CANNOT_OPEN'
export class ServiceError extends CodedError<ServiceErrorCode> {}
