import { hasNoIdentity } from '#apps/agent-client/index.ts'
import { readEndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import { callJson } from '#apps/site-client/call.ts'
import { siteView } from '#core/api/person.ts'
import type { Login } from './login-file.ts'

/** Where this machine's endpoint identity is: `$TRUSTCAST_ENDPOINT`, else where `enroll` puts it. */
export function endpointDir(): string {
  return process.env['TRUSTCAST_ENDPOINT'] ?? '/var/lib/trustcast/endpoint'
}

/**
 * Puts this machine's word beside the person's, where it is an endpoint of the same site and its key may be read by whoever asks.
 * Elsewhere the login stays what it is: one from any machine.
 *
 * @param dir of the enrolment
 */
export async function atThisEndpoint(login: Login, dir: string = endpointDir()): Promise<Login> {
  const endpoint = await readEndpointCredentials(dir).catch((error: unknown) => {
    if (hasNoIdentity(error)) return undefined
    throw error
  })
  if (endpoint === undefined) return login
  const { siteId } = await callJson(login.site, { method: 'GET', path: '/api/v1/site' }, siteView)
  return siteId === endpoint.siteId ? { ...login, credentials: { ...login.credentials, endpoint } } : login
}
