import type { Logger } from 'pino'
import {
  agentWentAway,
  holdLease,
  isAway,
  knowEndpointKey,
  type LeaseDetail,
  leaseById,
  readySession,
  recordEndpointHello,
  recordLeaseStats,
  recordPaused,
  renewLease,
  type SessionDetail,
  sessionById,
  updateSession,
} from '#adapters/store-postgres/index.ts'
import { type EndpointToSite, endpointToSite, type ReportedLease } from '#core/agent/endpoint-messages.ts'
import { understands } from '#core/agent/understood.ts'
import { isRenewalDue, leaseUntil } from '#core/lease/index.ts'
import { noteDiscarded } from '../data/discards.ts'
import { desiredOf, finishLease } from '../data/leases.ts'
import type { EvidenceDesk } from '../evidence/evidence-desk.ts'
import type { EvidenceLink, ReportingConnection } from '../evidence/evidence-link.ts'
import { endpointSilenceMs } from '../launches/deciding.ts'
import { finishSession } from '../launches/live-sessions.ts'
import { noteUse } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import type { AgentLink } from './agent-port.ts'
import { coalesced } from './coalesced.ts'

/** Reports repeat what has not changed; only changes are written, and what holds is looked at again when `lookAt` has come. */
interface Known {
  readonly sessionId: string
  readonly state: ReportedLease['state']
  readonly stats: string
  readonly lookAt: number
}

const lookEveryMs = 20_000

/** One endpoint's connection, and whom it proved to be. */
export interface EndpointConnection extends Omit<ReportingConnection, 'send' | 'end' | 'log'> {
  /** When the certificate ends that it was opened with. */
  readonly provenUntil: Date
}

/**
 * The site's side of one endpoint's connection: says what the endpoint may hold whenever that may have changed, writes down what it
 * reports, and prolongs what stands. INVARIANT: an endpoint can only speak about its own leases.
 */
export function createEndpointLink(
  site: Site,
  connection: EndpointConnection,
  desk: EvidenceDesk,
  { send, end }: Pick<ReportingConnection, 'send' | 'end'>,
  log: Logger,
): AgentLink {
  const { endpointId: id } = connection
  const known = new Map<string, Known>()
  const leave = desk.arrived(id)
  let reporting: EvidenceLink | undefined
  let lastHeard = new Date(0)
  let heard = 0
  let takesDiscards = false
  const say = async (): Promise<void> => send(await desiredOf(site, id, heard, takesDiscards))
  const push = coalesced(say, (error) => {
    if (!isAway(error)) log.error({ err: error }, 'what the endpoint may hold could not be said')
  })
  const off = site.hints.onEndpoint(id, () => {
    desk.forget(id)
    desk.heard(id, true)
    // Another decision may have shortened them.
    for (const [lease, one] of known) known.set(lease, { ...one, lookAt: 0 })
    push.ask()
  })
  const receive = async (message: EndpointToSite, at: number): Promise<void> => {
    alive()
    switch (message.kind) {
      case 'hello':
        takesDiscards = await desk.arrivals.take(() => noteHello(site, connection, message, lastHeard), id)
        if (message.reports) reporting ??= desk.open({ ...connection, send, end, log })
        return push.ask()
      case 'evidence':
        // Who did not say that it would is not challenged: there is nothing that it could answer.
        if (reporting === undefined) throw new Error('evidence of a process that does not report')
        return reporting.receive(message, at)
      case 'discarded':
        return noteDiscarded(site, id, message.written)
      case 'report':
        heard = message.at
        for (const reported of message.leases) if (await noteLease(site, id, reported, known)) push.ask()
    }
  }
  const alive = (): void => {
    lastHeard = new Date(site.now())
    desk.heard(id)
  }
  return {
    receive: async (text, at) => receive(endpointToSite.parse(JSON.parse(text)), at),
    alive,
    lastWord: say,
    close: (isAnnounced) => {
      off()
      push.stop()
      reporting?.close(isAnnounced)
      // Another process of the same machine may go on, at this node or at another.
      const { isLast } = leave()
      if (isLast) sayAway(site, id, lastHeard)
      sayClosed(site, known)
    },
  }
}

/** @returns whether it understands what it shall discard */
async function noteHello(
  site: Site,
  { endpointId: id, publicKey, provenUntil }: EndpointConnection,
  { sealKey, version }: Extract<EndpointToSite, { kind: 'hello' }>,
  at: Date,
): Promise<boolean> {
  const public_key = Buffer.from(publicKey)
  await knowEndpointKey(site.store.db, { endpoint_id: id, public_key, expires_at: provenUntil })
  const takes_discards = understands(version, 'discard')
  const seal_key = Buffer.from(sealKey, 'base64url')
  await recordEndpointHello(site.store.db, id, { seal_key, takes_discards, last_seen_at: at })
  return takes_discards
}

function sayClosed({ store: { db } }: Site, known: ReadonlyMap<string, Known>): void {
  for (const { sessionId } of known.values())
    updateSession(db, sessionId, { connected: false }).catch(() => {})
}

function sayAway(site: Site, id: string, lastHeard: Date): void {
  agentWentAway(site.store.db, id, lastHeard, new Date(site.now() - endpointSilenceMs))
    .then(() => site.hints.tell({ topic: 'endpoint', id }))
    .catch(() => {})
}

/** @returns whether there is something new to say to the endpoint */
async function noteLease(
  site: Site,
  endpointId: string,
  reported: ReportedLease,
  known: Map<string, Known>,
): Promise<boolean> {
  const stats = JSON.stringify(reported.stats)
  const before = known.get(reported.id)
  if (
    reported.state !== 'ended' &&
    before?.state === reported.state &&
    before.stats === stats &&
    site.now() < before.lookAt
  )
    return false
  const lease = await leaseById(site.store.db, reported.id)
  if (lease === undefined || lease.endpoint_id !== endpointId) {
    known.delete(reported.id)
    return true
  }
  if (reported.state === 'paused' || lease.paused_at !== null)
    await recordPaused(site.store.db, lease.id, reported.state === 'paused' ? new Date(site.now()) : null)
  if (lease.state === 'ended') {
    if (reported.state === 'paused') known.set(lease.id, knownNow(site, lease, 'paused', stats))
    else known.delete(lease.id)
    return true
  }
  if (before?.stats !== stats) await recordLeaseStats(site.store.db, lease.id, reported.stats)
  if (reported.state !== 'held') {
    known.delete(lease.id)
    return endOf(site, lease, reported)
  }
  const session = await sessionById(site.store.db, lease.session_id)
  if (session === undefined || !(await holdLease(site.store.db, lease.id))) return true
  const isNew = before === undefined
  if (isNew) await showAsOpen(site, session)
  known.set(lease.id, knownNow(site, lease, reported.state, stats))
  if (session.web_session_id !== null) await noteUse(site, session.web_session_id, site.now())
  return (await prolong(site, lease, session)) || isNew
}

function knownNow(site: Site, lease: LeaseDetail, state: Known['state'], stats: string): Known {
  return { sessionId: lease.session_id, state, stats, lookAt: site.now() + lookEveryMs }
}

async function endOf(site: Site, lease: LeaseDetail, { end }: ReportedLease): Promise<boolean> {
  const why = end ?? { code: 'LEASE_ENDED', reason: 'It was closed on its device' }
  const actor = { type: 'endpoint', id: lease.endpoint_id } as const
  await finishLease(site, lease.id, why, actor)
  await finishSession(site, lease.session_id, why, actor)
  return true
}

async function showAsOpen(site: Site, session: SessionDetail): Promise<void> {
  await updateSession(site.store.db, session.id, { connected: true })
  await readySession(site.store.db, session.id)
  await site.hints.tell({ topic: 'person', id: session.person_id })
}

/** A lease is prolonged while its endpoint is heard of and its decision stands. @returns whether its end was moved */
async function prolong(site: Site, lease: LeaseDetail, session: SessionDetail): Promise<boolean> {
  if (session.state === 'ending' || session.state === 'ended') return false
  const now = site.now()
  const { obligations } = session
  const until = leaseUntil(now, obligations, session.ends_at.getTime())
  const isDue = isRenewalDue(now, lease.expires_at.getTime(), until, obligations)
  if (!isDue && lease.overlay === obligations.overlay) return false
  const terms = { ...(isDue ? { expires_at: new Date(until) } : {}), overlay: obligations.overlay }
  await renewLease(site.store.db, lease.id, terms, new Date(now))
  return true
}
