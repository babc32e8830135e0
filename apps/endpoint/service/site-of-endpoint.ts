import { readIdentity } from '#apps/agent-client/index.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import { ServiceError } from './service-error.ts'

/**
 * Where people reach the site that an endpoint belongs to, trusted by the root that its enrolment pinned.
 *
 * @param named another address of the same site
 * @throws {ServiceError} SERVICE_NO_SITE; {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND
 */
export async function siteOfEndpoint(dir: string, named: string | undefined): Promise<SiteAddress> {
  const { siteUrl, rootPem } = await readIdentity(dir, 'endpoint')
  const url = named ?? siteUrl
  if (url !== undefined) return { url: new URL(url).origin, ca: rootPem }
  throw new ServiceError('SERVICE_NO_SITE', 'this identity does not say where people reach its site', {
    remedy: 'Name it with --site https://…, or enrol this machine again.',
  })
}
