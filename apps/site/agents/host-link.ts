import type { Logger } from 'pino'
import {
  agentById,
  agentWentAway,
  armTicket,
  isAway,
  listAgents,
  liveSessions,
  openTickets,
  readySession,
  recordHostHello,
  recordReport,
  redeemTicket,
  type SessionChange,
  type SessionDetail,
  sessionById,
  updateSession,
} from '#adapters/store-postgres/index.ts'
import { fullNameOf } from '#core/agent/full-name.ts'
import {
  type DesiredSession,
  type HostSession,
  type HostToSite,
  hostToSite,
  type SiteToHost,
} from '#core/agent/messages.ts'
import { understands } from '#core/agent/understood.ts'
import { homesToDiscard, noteHomesDiscarded } from '../data/discards.ts'
import { agentSilenceMs } from '../launches/deciding.ts'
import { finishSession } from '../launches/live-sessions.ts'
import { sessionNoticeOf } from '../launches/views.ts'
import { noteUse } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import type { AgentLink } from './agent-port.ts'
import { coalesced } from './coalesced.ts'

/** Reports repeat what has not changed; only changes are written. */
type Known = Pick<HostSession, 'state' | 'connected'> & { readonly inputMinute: number }

/**
 * The site's side of one host's connection: says what the host shall run whenever that may have changed,
 * and writes down what the host reports. INVARIANT: a host can only speak about its own sessions and tickets.
 */
export function createHostLink(
  site: Site,
  id: string,
  send: (message: SiteToHost) => void,
  log: Logger,
): AgentLink {
  const { db } = site.store
  const known = new Map<string, Known>()
  let lastHeard = new Date(0)
  let takesDiscards = false
  const push = coalesced(
    async () => send(await desiredOf(site, id, takesDiscards)),
    (error) => logFailure(log, error),
  )
  const off = site.hints.on((hint) => {
    if (hint.topic === 'lost' || hint.topic === 'gateways' || (hint.topic === 'host' && hint.id === id))
      push.ask()
  })
  // What cannot be written down of one session shall not cut the host of all others off: it reports again.
  const unlessAway = (error: unknown): void => {
    if (isAway(error)) throw error
    log.error({ err: error }, 'a session that the host reported could not be written down')
  }
  const receive = async (message: HostToSite): Promise<void> => {
    lastHeard = new Date(site.now())
    switch (message.kind) {
      case 'hello':
        takesDiscards = await noteHello(site, id, message, lastHeard)
        return push.ask()
      case 'report': {
        const { cpuPercent, memoryFreeMiB, warm } = message
        await recordReport(db, id, lastHeard, { cpuPercent, memoryFreeMiB, warm })
        for (const session of message.sessions) await noteSession(site, id, session, known).catch(unlessAway)
        forgetOthers(known, message.sessions)
        return
      }
      case 'armed':
        await armTicket(db, Buffer.from(message.ticketId, 'hex'), id, lastHeard)
        return site.hints.tell({ topic: 'ticket', id: message.ticketId })
      case 'redeemed':
        return noteRedeemed(site, id, message.ticketId, lastHeard)
      case 'clipboard':
        return noteClipboard(message, log)
      case 'discarded':
        return noteHomesDiscarded(site, id, message.accounts)
    }
  }
  return {
    receive: async (text) => receive(hostToSite.parse(JSON.parse(text))),
    close: () => {
      off()
      push.stop()
      agentWentAway(db, id, lastHeard, new Date(site.now() - agentSilenceMs)).catch(() => {})
    },
  }
}

/** @returns whether it understands what it shall discard */
async function noteHello(
  site: Site,
  id: string,
  { hostKey, capacity, version }: Extract<HostToSite, { kind: 'hello' }>,
  at: Date,
): Promise<boolean> {
  const takes_discards = understands(version, 'discard')
  const host_key = Buffer.from(hostKey, 'base64url')
  await recordHostHello(site.store.db, id, { host_key, capacity, takes_discards, last_seen_at: at })
  return takes_discards
}

async function noteRedeemed(site: Site, id: string, ticket: string, at: Date): Promise<void> {
  const sessionId = await redeemTicket(site.store.db, Buffer.from(ticket, 'hex'), id, at)
  if (sessionId === undefined) return
  await site.audit.record('ticket-redeemed', { type: 'host', id }, sessionId, { ticket })
}

function logFailure(log: Logger, error: unknown): void {
  if (!isAway(error)) log.error({ err: error }, 'what the host shall run could not be said')
}

function noteClipboard(
  { sessionId, direction, bytes, passed }: Extract<HostToSite, { kind: 'clipboard' }>,
  log: Logger,
): void {
  log.info({ session: sessionId, direction, bytes, passed }, 'clipboard')
}

async function noteSession(
  site: Site,
  hostId: string,
  reported: HostSession,
  known: Map<string, Known>,
): Promise<void> {
  const { state, connected } = reported
  const inputMinute = Math.floor(Date.parse(reported.lastInputAt ?? '1970-01-01T00:00:00Z') / 60_000)
  const before = known.get(reported.id)
  if (before?.state === state && before.connected === connected && before.inputMinute === inputMinute) return
  const session = await sessionById(site.store.db, reported.id)
  if (session === undefined || session.host_id !== hostId) return
  if (state === 'ended') {
    await finishSession(
      site,
      session.id,
      reported.end ?? { code: 'SESSION_ENDED', reason: 'It ended on its host' },
      { type: 'host', id: hostId },
    )
  } else {
    await updateSession(site.store.db, session.id, changeOf(reported))
    if (state === 'ready') await readySession(site.store.db, session.id)
    if (reported.lastInputAt !== undefined && session.web_session_id !== null)
      await noteUse(site, session.web_session_id, Date.parse(reported.lastInputAt))
    await site.hints.tell({ topic: 'person', id: session.person_id })
  }
  known.set(reported.id, { state, connected, inputMinute })
}

/** What the host no longer reports need not be remembered. */
function forgetOthers(known: Map<string, Known>, reported: readonly HostSession[]): void {
  const ids = new Set(reported.map(({ id }) => id))
  for (const id of known.keys()) if (!ids.has(id)) known.delete(id)
}

function changeOf(reported: HostSession): SessionChange {
  return {
    connected: reported.connected,
    ...(reported.lastInputAt === undefined ? {} : { last_input_at: new Date(reported.lastInputAt) }),
  }
}

async function desiredOf(site: Site, hostId: string, takesDiscards: boolean): Promise<SiteToHost> {
  const { db } = site.store
  const [host, sessions, tickets, gateways, discard] = await Promise.all([
    agentById(db, hostId),
    liveSessions(db, { hostId }),
    openTickets(db, hostId, new Date(site.now())),
    listAgents(db, 'gateway'),
    takesDiscards ? homesToDiscard(site, hostId) : [],
  ])
  return {
    kind: 'desired',
    draining: host?.draining ?? true,
    warm: host === undefined || host.draining ? 0 : (site.config.pools[host.pool]?.warm ?? site.config.warm),
    gateways: gateways.flatMap(({ id, revoked_at, report }) =>
      revoked_at === null && report.agentUrl !== undefined ? [{ id, agentUrl: report.agentUrl }] : [],
    ),
    sessions: sessions.map((session) => desiredSessionOf(site, session)),
    tickets: tickets.map((ticket) => ({
      id: ticket.id.toString('hex'),
      sessionId: ticket.session_id,
      sealed: ticket.sealed.toString('base64url'),
      expiresAt: ticket.expires_at.toISOString(),
    })),
    ...(discard.length === 0 ? {} : { discard }),
  }
}

function desiredSessionOf(site: Site, session: SessionDetail): DesiredSession {
  return {
    id: session.id,
    account: session.account,
    fullName: fullNameOf({ name: session.person_name, login: session.person_login }),
    program: session.workspace.program,
    width: session.width,
    height: session.height,
    limits: site.config.limits,
    rights: session.rights,
    obligations: session.obligations,
    endsAt: session.ends_at.toISOString(),
    notice: sessionNoticeOf(session),
    // Nothing passes for somebody who is no longer permitted, or no longer signed in.
    frozen: session.state === 'ending' || session.web_session_id === null,
  }
}
