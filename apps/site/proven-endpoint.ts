import { createPublicKey } from 'node:crypto'
import { type AgentRow, agentById, endpointKeys } from '#adapters/store-postgres/index.ts'
import { claimedEndpoint, EndpointProofError, verifyEndpointProof } from '#core/identity/endpoint-proof.ts'
import type { Site } from './site.ts'
import { SiteError } from './site-error.ts'

/** How old a proof may be, a person's as well as an endpoint's. */
export const proofMaxAgeMs = 60_000

/**
 * The enrolled machine that co-signed a request whose person has proved who they are; undefined when none did.
 * INVARIANT I5: a proof that does not hold is refused and never passed over, so that nobody tries for free.
 *
 * @throws {SiteError} ENDPOINT_REFUSED
 */
export async function provenEndpoint(
  site: Site,
  {
    proof = '',
    endpointProof,
  }: { readonly proof: string | undefined; readonly endpointProof: string | undefined },
): Promise<AgentRow | undefined> {
  if (endpointProof === undefined) return undefined
  const now = site.now()
  try {
    const id = claimedEndpoint(endpointProof)
    const [endpoint, known] = await Promise.all([
      agentById(site.store.db, id),
      endpointKeys(site.store.db, id, new Date(now)),
    ])
    if (endpoint?.kind !== 'endpoint') throw refused('no such endpoint is enrolled here')
    const keys = known.map((key) => createPublicKey({ key, format: 'der', type: 'spki' }))
    verifyEndpointProof(endpointProof, {
      keys,
      siteId: site.siteId,
      proof,
      nowMs: now,
      maxAgeMs: proofMaxAgeMs,
    })
    if (endpoint.revoked_at !== null) throw refused(`endpoint ${endpoint.name} was revoked`)
    return endpoint
  } catch (error) {
    if (error instanceof EndpointProofError) throw refused(error.message, error)
    throw error
  }
}

function refused(why: string, cause?: unknown): SiteError {
  return new SiteError('ENDPOINT_REFUSED', why, {
    remedy:
      'Start `trustcast endpoint` on this device so that its certificate is renewed, or have it enrolled again.',
    cause,
  })
}
