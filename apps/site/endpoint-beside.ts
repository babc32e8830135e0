import { type AgentRow, agentById, browserEndpoint } from '#adapters/store-postgres/index.ts'
import { type Claim, isClaimName, rankOf, unknownValue } from '#core/trust/index.ts'
import { readEvidence } from './evidence.ts'
import type { Site } from './site.ts'

/** A browser that has not met its endpoint for as long is no longer thought to be on it. */
const besideMs = 10 * 60_000
const ofTheWay: ReadonlySet<string> = new Set(['network.interception', 'network.integrity'])

/**
 * The endpoint that a browser was seen on. What is decided for it is shown and delivers nothing: only the endpoint itself is delivered to.
 */
export async function endpointBeside(site: Site, webSessionId: string): Promise<AgentRow | undefined> {
  const { db } = site.store
  const id = await browserEndpoint(db, webSessionId, new Date(site.now() - besideMs))
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
  const { claims } = await readEvidence(site, endpoint.id, options)
  return claims.filter(
    ({ name, value }) =>
      isClaimName(name) && ofTheWay.has(name) && rankOf(name, value) < rankOf(name, unknownValue),
  )
}
