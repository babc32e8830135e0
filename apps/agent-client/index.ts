export { AgentError, type AgentErrorCode, isRefusal } from './agent-error.ts'
export { type AgentIdentity, hasNoIdentity, readIdentity, replaceFile } from './agent-identity.ts'
export type { AgentLog } from './agent-log.ts'
export { backoff } from './backoff.ts'
export {
  connectToSite,
  type SiteConnection,
  type SiteConnectionOptions,
  type SiteConnectionTerms,
} from './connect-to-site.ts'
export { Discarding } from './discarding.ts'
export { type Enrolment, enrolAgent, type TpmChoice } from './enrol-agent.ts'
export { keepRenewed, type Renewal } from './keep-renewed.ts'
export { quoteOver } from './quote-over.ts'
export { requestApproval, type Waiting } from './request-approval.ts'
export { postJson } from './request-json.ts'
export { steadyMs } from './steady-clock.ts'
export { loadX25519Key } from './x25519-key.ts'
