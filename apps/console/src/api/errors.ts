import type { ApiError as ApiErrorBody, DecisionView } from '#core/api/words.ts'
import { CodedError } from '#core/errors/coded-error.ts'

/** A failing answer of the site, or `SITE_UNREACHABLE` / `SITE_ANSWER` when there was none that could be understood. */
export class ApiError extends CodedError {
  /** HTTP status; 0 when the site did not answer. */
  readonly status: number
  /** Which value of the request it is about. */
  readonly field: string | undefined
  /** Seconds after which trying again makes sense. */
  readonly retryAfter: number | undefined
  /** For a refused launch: the decision that refused it. */
  readonly decision: DecisionView | undefined

  constructor(status: number, body: ApiErrorBody, cause?: unknown) {
    super(body.code, body.message, {
      ...(body.remedy === undefined ? {} : { remedy: body.remedy }),
      ...(cause === undefined ? {} : { cause }),
    })
    this.status = status
    this.field = body.field
    this.retryAfter = body.retryAfter
    this.decision = body.decision
  }

  /** True when the same request may work later without anything being changed. */
  get passes(): boolean {
    return this.status === 0 || this.status === 503
  }

  /** True when the site as a whole is away or busy, or has no more time for this sign-in, and it is not what was asked of it. */
  get isTrouble(): boolean {
    return ['SITE_UNREACHABLE', 'SITE_BUSY', 'TOO_FAST'].includes(this.code)
  }
}
