import { type AgentRow, agentById, browserEndpoint } from '#adapters/store-postgres/index.ts'
import { type Claim, isClaimName, rankOf, unknownValue } from '#core/trust/index.ts'
import { type EndpointEvidence, readEvidence } from '../evidence/evidence.ts'
import type { Site } from '../site.ts'

const ofTheWay: ReadonlySet<string> = new Set(['network.interception', 'network.integrity'])

/**
 * The endpoint that a browser was seen on, as long as its sign-in lasts or until it meets another one. A sign-in's key cannot leave its browser:
 * nobody has to say again that it is there, which a page that sleeps could not, and which whoever wants no trust lowered would leave out. What is decided for it is shown and delivers nothing: only the endpoint itself is delivered to.
 */
export async function endpointBeside(site: Site, webSessionId: string): Promise<AgentRow | undefined> {
  const { db } = site.store
  const id = await browserEndpoint(db, webSessionId)
  const endpoint = id === undefined ? undefined : await agentById(db, id)
  return endpoint?.revoked_at === null ? endpoint : undefined
}

/**
 * What is bad about the way from a browser to the site, as the endpoint that it was seen on has shown it: the browser's way is the same.
 * INVARIANT I5: it lowers alone. What is good about the endpoint is nothing of the browser's.
 */
export async function badWayBeside(
  site: Site,
  webSessionId: string,
  options: { readonly asBefore: boolean },
): Promise<readonly Claim[]> {
  const endpoint = await endpointBeside(site, webSessionId)
  if (endpoint === undefined) return []
  return badWayIn(await readEvidence(site, endpoint.id, options))
}

/** What of the evidence of an endpoint holds for a browser on it, too: nothing that is good. */
export function badWayIn({ claims }: EndpointEvidence): readonly Claim[] {
  return claims.filter(
    ({ name, value }) =>
      isClaimName(name) && ofTheWay.has(name) && rankOf(name, value) < rankOf(name, unknownValue),
  )
}
