import {
  endLease,
  expiredLeases,
  isAway,
  type LeaseDetail,
  leaseById,
  leaseOfSession,
  openLeases,
  pausedLeases,
  type SessionDetail,
  withdrawLease,
} from '#adapters/store-postgres/index.ts'
import type { EndpointLease, SiteToEndpoint } from '#core/agent/endpoint-messages.ts'
import { fullNameOf } from '#core/agent/full-name.ts'
import type { LeaseNotice } from '#core/api/lease.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { pausedSince } from '#core/lease/index.ts'
import { oneByOne } from '../one-by-one.ts'
import type { Site } from '../site.ts'
import { discardsOf } from './discards.ts'
import { removeDiscardedReplicas } from './replica-retention.ts'

/** The rights of endpoints to hold data, as the site keeps them (I8). */

/** Under this name one caller at a time, over all nodes, changes a session and what is held under it: see `oneByOne`. */
export function changesOf({ id }: Pick<SessionDetail, 'id'>): string {
  return `session ${id}`
}

/**
 * Takes back what a session's endpoint holds, once. The endpoint is told by whoever changed the session.
 *
 * @returns false when nothing is left to take back
 */
export async function withdrawLeaseOf(
  site: Site,
  session: Pick<SessionDetail, 'id'>,
  notice: LeaseNotice,
  actor: AuditActor,
): Promise<boolean> {
  return oneByOne(site, changesOf(session), () => withdrawLeaseAlone(site, session, notice, actor))
}

/** The same for whoever makes the session's `changesOf` already. */
export async function withdrawLeaseAlone(
  site: Site,
  session: Pick<SessionDetail, 'id'>,
  notice: LeaseNotice,
  actor: AuditActor,
): Promise<boolean> {
  const lease = await leaseOfSession(site.store.db, session.id)
  if (lease === undefined || lease.state === 'withdrawn' || lease.state === 'ended') return false
  await site.audit.record('lease-withdrawn', actor, lease.id, {
    session: session.id,
    person: lease.person_id,
    endpoint: lease.endpoint_id,
    code: notice.code,
    reason: notice.reason,
    stepDown: notice.stepDown ?? null,
  })
  return withdrawLease(site.store.db, lease.id, notice, new Date(site.now()))
}

/**
 * Ends a lease once, of whoever says so at whichever node: nothing can be read under it any more.
 *
 * @param isSo asked of the lease as it is then
 * @returns the lease that this call has ended
 */
export async function finishLease(
  site: Site,
  id: string,
  end: { readonly code: string; readonly reason: string },
  actor: AuditActor,
  isSo: (lease: LeaseDetail) => boolean = () => true,
): Promise<LeaseDetail | undefined> {
  const { db } = site.store
  const found = await leaseById(db, id)
  if (found === undefined) return undefined
  const ended = await oneByOne(site, changesOf({ id: found.session_id }), async () => {
    const lease = await leaseById(db, id)
    if (lease === undefined || lease.state === 'ended' || !isSo(lease)) return undefined
    await site.audit.record('lease-ended', actor, id, {
      session: lease.session_id,
      person: lease.person_id,
      endpoint: lease.endpoint_id,
      code: end.code,
      reason: end.reason,
    })
    await endLease(db, id, new Date(site.now()))
    return lease
  })
  // Nobody waits for it: the lease has ended whatever comes of this, and the sweep looks again.
  if (ended?.overlay === 'discard')
    void removeDiscardedReplicas(site, ended.person_id).catch((error: unknown) => {
      if (!isAway(error))
        site.log.error({ err: error, lease: id }, 'what was discarded is in the data centre still')
    })
  return ended
}

/** Leases whose endpoint has not spoken in time: by its own clock it has stopped before. */
export async function leasesPastTheirEnd(site: Site): Promise<readonly LeaseDetail[]> {
  return expiredLeases(site.store.db, new Date(site.now()))
}

/**
 * All that an endpoint may hold now, and what it says that it has in memory still, as withdrawn.
 *
 * @param heard stamp of the latest report that was read before this was asked for
 * @param takesDiscards its agent understands what it shall discard
 */
export async function desiredOf(
  site: Site,
  endpointId: string,
  heard: number,
  takesDiscards: boolean,
): Promise<SiteToEndpoint> {
  const { db } = site.store
  const [open, paused, discard] = await Promise.all([
    openLeases(db, endpointId),
    pausedLeases(db, endpointId, new Date(pausedSince(site.now()))),
    takesDiscards ? discardsOf(site, endpointId) : [],
  ])
  const leases = [...open, ...paused].map((lease) => desiredLeaseOf(lease, site.now()))
  return { kind: 'desired', heard, leases, ...(discard.length === 0 ? {} : { discard }) }
}

function desiredLeaseOf(lease: LeaseDetail, now: number): EndpointLease {
  const isGood = lease.state === 'offered' || lease.state === 'held'
  return {
    id: lease.id,
    state: isGood ? 'held' : 'withdrawn',
    expiresAt: lease.expires_at.toISOString(),
    leftMs: isGood ? Math.max(0, lease.expires_at.getTime() - now) : 0,
    overlay: lease.overlay,
    ...(lease.mode === 'local-vm' && {
      display: {
        rights: [...lease.rights],
        obligations: lease.obligations,
        fullName: fullNameOf({ name: lease.person_name, login: lease.person_login }),
      },
    }),
    ...(lease.notice === null ? {} : { notice: lease.notice }),
  }
}
