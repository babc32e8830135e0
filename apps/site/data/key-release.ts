import { createHmac, hkdfSync } from 'node:crypto'
import {
  type AgentRow,
  type LeaseDetail,
  leaseById,
  noteKeyReleased,
  sessionById,
} from '#adapters/store-postgres/index.ts'
import { constantTimeEqual } from '#core/bytes/index.ts'
import { finishSession } from '../launches/live-sessions.ts'
import { sealKeyFor } from '../releases/image-keys.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'

/**
 * What the answer to a launch holds and whoever asks for the key shows: that they were given this lease. The endpoint's certificate alone,
 * of which there may be a copy, opens nothing. Every node makes the same one, and nothing is kept of it.
 *
 * @returns base64url
 */
export function keyTicketOf({ imageSecret, siteId }: Site, leaseId: string): string {
  const secret = hkdfSync('sha256', imageSecret, siteId, 'trustcast key tickets', 32)
  return createHmac('sha256', Buffer.from(secret)).update(leaseId).digest('base64url')
}

/**
 * The key of the image that a lease is about, for the endpoint that was given the lease, until it says that it holds it.
 *
 * INVARIANT I7: that the key goes out is in the audit log before it does.
 * INVARIANT I8: no key without a lease; one that could not be handed out is over.
 *
 * @param endpoint proven by its certificate
 * @param asked what it says of the lease
 * @returns sealed to the endpoint's key for this lease (`core/lease`), base64url
 * @throws {SiteError} NOT_FOUND for everybody else's lease, one that is held or over, and a wrong ticket, CONFLICT when the site has no such key,
 *   LAUNCH_LATE when the lease was withdrawn meanwhile
 */
export async function releaseKey(
  site: Site,
  endpoint: AgentRow,
  asked: { readonly leaseId: string; readonly keyTicket: string },
): Promise<string> {
  const { leaseId, keyTicket } = asked
  const lease = await leaseById(site.store.db, leaseId)
  const isOffered =
    lease !== undefined &&
    lease.endpoint_id === endpoint.id &&
    constantTimeEqual(Buffer.from(keyTicket), Buffer.from(keyTicketOf(site, leaseId))) &&
    lease.state === 'offered' &&
    lease.expires_at.getTime() > site.now()
  if (!isOffered) throw notFound('lease whose key is still to be given out')
  try {
    return await handOut(site, endpoint, lease)
  } catch (error) {
    const end = { code: 'SESSION_NOT_DELIVERED', reason: 'Its key could not be handed out' }
    await finishSession(site, lease.session_id, end, { type: 'site', id: site.siteId })
    throw error
  }
}

async function handOut(site: Site, endpoint: AgentRow, lease: LeaseDetail): Promise<string> {
  const { db } = site.store
  const session = await sessionById(db, lease.session_id)
  if (session === undefined || endpoint.seal_key === null) throw notFound('key to seal for')
  const sealedFor = { leaseId: lease.id, endpointId: endpoint.id }
  const { keyId, sealed } = await sealKeyFor(site, lease.image, endpoint.seal_key, sealedFor)
  await site.audit.record('key-released', { type: 'person', id: lease.person_id }, lease.id, {
    session: session.id,
    endpoint: endpoint.id,
    image: lease.image,
    version: lease.version,
    manifestDigest: lease.manifest_digest,
    keyId,
    overlay: lease.overlay,
    until: lease.expires_at.toISOString(),
    untilAtMost: session.ends_at.toISOString(),
  })
  if (!(await noteKeyReleased(db, lease.id, new Date(site.now()))))
    throw new SiteError('LAUNCH_LATE', 'the lease was withdrawn before its key went out', {
      remedy: 'Try again in a moment.',
      retryAfter: 1,
    })
  return sealed
}
