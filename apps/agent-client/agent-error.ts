import { CodedError, type CodedErrorOptions } from '#core/errors/coded-error.ts'

export type AgentErrorCode =
  | 'AGENT_NOT_ENROLLED'
  | 'AGENT_ENROLLED_ALREADY'
  | 'AGENT_WRONG_KIND'
  | 'AGENT_WRONG_TOKEN'
  | 'AGENT_WRONG_CERTIFICATE'
  | 'AGENT_KEY_DAMAGED'
  | 'AGENT_HOST_SECRET_MISSING'
  | 'AGENT_HOST_SECRET_UNSAFE'
  | 'AGENT_TPM_ABSENT'
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
