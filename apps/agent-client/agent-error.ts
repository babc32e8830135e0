import { CodedError } from '#core/errors/coded-error.ts'

export type AgentErrorCode =
  | 'AGENT_NOT_ENROLLED'
  | 'AGENT_ENROLLED_ALREADY'
  | 'AGENT_WRONG_KIND'
  | 'AGENT_WRONG_TOKEN'
  | 'AGENT_WRONG_CERTIFICATE'
  | 'AGENT_KEY_DAMAGED'
  | 'AGENT_SITE_AWAY'
  | 'AGENT_SITE_REFUSED'
  | 'AGENT_SITE_MALFORMED'

/** Why a machine does not become, or stay, a part of its site. */
export class AgentError extends CodedError<AgentErrorCode> {}
