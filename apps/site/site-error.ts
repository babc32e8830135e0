import type { DecisionView } from '#core/api/words.ts'
import { CodedError, type CodedErrorOptions } from '#core/errors/coded-error.ts'

/** Every code that the API answers by itself, with its HTTP status. */
export const siteErrorStatus = {
  BAD_REQUEST: 400,
  SIGN_IN_REFUSED: 401,
  NOT_SIGNED_IN: 401,
  PROOF_REFUSED: 401,
  ORIGIN_REFUSED: 403,
  NOT_ALLOWED: 403,
  LAUNCH_REFUSED: 403,
  ENDPOINT_REFUSED: 403,
  TOKEN_REFUSED: 403,
  /** Nobody was given this code. */
  HANDOFF_UNKNOWN: 403,
  HANDOFF_USED: 403,
  HANDOFF_EXPIRED: 403,
  HANDOFF_OTHER_ENDPOINT: 403,
  HANDOFF_OTHER_OWNER: 403,
  /** A code that names no device came to one that several people may use. */
  HANDOFF_NO_OWNER: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  LAUNCH_ON_ENDPOINT: 409,
  LAUNCH_HOSTED_NOW: 409,
  /** There is nothing left to withdraw. */
  LEASE_OVER: 409,
  /** Somebody else has gone on with a replica, or it was removed. */
  REPLICA_CONFLICT: 409,
  /** A manifest names pieces that were not sent. */
  REPLICA_INCOMPLETE: 409,
  REPLICA_MALFORMED: 400,
  /** Beyond what a piece, a manifest or a replica may have. */
  REPLICA_TOO_LARGE: 413,
  SIGN_IN_SLOWED: 429,
  TOO_FAST: 429,
  SITE_BROKEN: 500,
  SITE_BUSY: 503,
  LAUNCH_NO_ROOM: 503,
  LAUNCH_NO_GATEWAY: 503,
  LAUNCH_LATE: 503,
} as const
export type SiteErrorCode = keyof typeof siteErrorStatus

export interface SiteErrorOptions extends CodedErrorOptions {
  /** Which value of the request it is about. */
  readonly field?: string
  /** Seconds after which trying again makes sense. */
  readonly retryAfter?: number
  readonly decision?: DecisionView
}

export class SiteError extends CodedError<SiteErrorCode> {
  readonly field: string | undefined
  readonly retryAfter: number | undefined
  readonly decision: DecisionView | undefined

  constructor(code: SiteErrorCode, message: string, options: SiteErrorOptions = {}) {
    super(code, message, options)
    this.field = options.field
    this.retryAfter = options.retryAfter
    this.decision = options.decision
  }
}

export function notFound(what: string): SiteError {
  return new SiteError('NOT_FOUND', `there is no such ${what}`, {
    remedy: 'It may have ended or been removed. Go back and look again.',
  })
}

/** A login that somebody typed, as a value of a request. */
export function nobodyCalled(login: string, field: string): SiteError {
  return new SiteError('NOT_FOUND', `nobody here has the user name ${login}`, {
    field,
    remedy: 'Check how it is written.',
  })
}
