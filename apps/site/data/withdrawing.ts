import { leaseById } from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { finishSession } from '../launches/live-sessions.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { withdrawLeaseOf } from './leases.ts'

/**
 * An admin takes back what an endpoint holds under one lease: its key is wiped when it hears, its session ends. INVARIANT I7: the log is told
 * before the endpoint is.
 *
 * @returns the lease as it is now: `ended` when its endpoint has answered meanwhile
 * @throws {SiteError} NOT_FOUND; LEASE_OVER when there is nothing left to take
 */
export async function withdrawByAdmin(
  site: Site,
  leaseId: string,
  reason: string,
  actor: AuditActor,
): Promise<'withdrawn' | 'ended'> {
  const { db } = site.store
  const lease = await leaseById(db, leaseId)
  if (lease === undefined) throw notFound('lease')
  const session = { id: lease.session_id }
  const notice = { code: 'LEASE_WITHDRAWN_BY_ADMIN', reason }
  if (!(await withdrawLeaseOf(site, session, notice, actor)))
    throw new SiteError('LEASE_OVER', 'this lease is over or was withdrawn already', {
      remedy: 'Its time line says when and why. Nothing is left to withdraw.',
    })
  await finishSession(site, session.id, { code: 'SESSION_LEASE_WITHDRAWN', reason }, actor)
  // Its session may have been over before, and then nobody told the endpoint.
  await site.hints.tell({ topic: 'endpoint', id: lease.endpoint_id })
  const after = await leaseById(db, leaseId)
  return after?.state === 'ended' ? 'ended' : 'withdrawn'
}
