import { CodedError, type CodedErrorOptions } from '#core/errors/coded-error.ts'

export type AgentErrorCode =
  | 'AGENT_NOT_ENROLLED'
  | 'AGENT_ENROLLED_ALREADY'
  | 'AGENT_WRONG_KIND'
  | 'AGENT_WRONG_TOKEN'
  | 'AGENT_WRONG_CERTIFICATE'
  | 'AGENT_KEY_DAMAGED'
  | 'AGENT_COUNT_DAMAGED'
  | 'AGENT_HOST_SECRET_MISSING'
  | 'AGENT_HOST_SECRET_UNSAFE'
  | 'AGENT_REFUSED'
  | 'AGENT_SITE_AWAY'
  | 'AGENT_SITE_REFUSED'
  | 'AGENT_SITE_MALFORMED'

/** Why a machine does not become, or stay, a part of its site. */
export class AgentError extends CodedError<AgentErrorCode> {
  /** Of AGENT_SITE_REFUSED: the code of the site's own answer. */
  readonly siteCode: string | undefined

  constructor(
    code: AgentErrorCode,
    message: string,
    options: CodedErrorOptions & { readonly siteCode?: string } = {},
  ) {
    super(code, message, options)
    this.siteCode = options.siteCode
  }
}

/** Answers of a site that says so again when it is asked again, until somebody has done something: unlike that it is busy. */
export function isRefusal(error: unknown): error is AgentError {
  if (!(error instanceof AgentError) || error.code !== 'AGENT_SITE_REFUSED') return false
  return error.siteCode !== undefined && !passing.has(error.siteCode)
}

const passing: ReadonlySet<string> = new Set(['SITE_BUSY', 'SITE_BROKEN', 'TOO_FAST'])
