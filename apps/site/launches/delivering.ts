import {
  agentById,
  countOpenTickets,
  insertTicket,
  isTicketArmed,
  onlineAgents,
  type SessionDetail,
  sessionById,
} from '#adapters/store-postgres/index.ts'
import { signRoute } from '#core/agent/route.ts'
import type { HostedDelivery, Route } from '#core/api/person.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { displayStartMs } from '#core/broker/display.ts'
import { encodeBase64url } from '#core/bytes/index.ts'
import { channelContext, createTicket, seal, ticketId, ticketPsk } from '#core/channel/index.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { agentSilenceMs } from './deciding.ts'
import { sessionViewOf } from './views.ts'

/** INVARIANT: a ticket opens one delivery, once, for this long at most. */
const ticketLifetimeMs = 30_000
/** Long enough that a person whose gateway dies finds another way while the site is away. */
const routeLifetimeMs = 15 * 60_000
/** A host that knows why nothing starts says it sooner; what is left of the ticket's life is enough to open the session. */
const armTimeoutMs = displayStartMs + 5_000
/** A host is told of all open tickets at once: no person may fill that message. */
const maxOpenTickets = 16

/** A session that runs on a host. */
export type HostedSession = SessionDetail & { readonly host_id: string }

export function isHosted(session: SessionDetail): session is HostedSession {
  return session.host_id !== null
}

/**
 * Makes the single-use right to open a session and everything its holder needs to use it.
 * Resolves when the session runs and its host holds the ticket.
 *
 * @param clientKey X25519 public key of the holder; only who has its private half can use the ticket
 * @throws {SiteError} LAUNCH_LATE, LAUNCH_NO_GATEWAY, CONFLICT, NOT_FOUND
 */
export async function deliver(
  site: Site,
  session: HostedSession,
  clientKey: Uint8Array,
  holder: AuditActor,
): Promise<HostedDelivery> {
  const { db } = site.store
  const host = await agentById(db, session.host_id)
  if (host?.host_key == null) throw notFound('host')
  const routes = await routesTo(site, session)
  // Before anything is written down of it; what counts is asked once more when it is stored.
  if ((await countOpenTickets(db, session.id, new Date(site.now()))) >= maxOpenTickets) throw openedTooOften()

  const ticket = createTicket()
  const id = Buffer.from(await ticketId(ticket))
  const secret = Buffer.concat([await ticketPsk(ticket), clientKey])
  const sealed = Buffer.from(await seal(host.host_key, secret, Buffer.concat([id, Buffer.from(session.id)])))
  const expiresAt = new Date(site.now() + ticketLifetimeMs)
  await site.audit.record('ticket-issued', holder, session.id, {
    ticket: id.toString('hex'),
    host: session.host_id,
    rights: session.rights,
    clientKey: Buffer.from(clientKey).toString('base64url'),
    expiresAt: expiresAt.toISOString(),
  })
  const row = { id, session_id: session.id, sealed, expires_at: expiresAt }
  const bound = { now: new Date(site.now()), most: maxOpenTickets }
  if (!(await insertTicket(db, row, bound))) throw openedTooOften()
  await site.hints.tell({ topic: 'host', id: session.host_id })
  return {
    kind: 'hosted',
    session: {
      ...sessionViewOf(await untilArmed(site, session.id, id)),
      host: { id: session.host_id, name: session.machine_name },
    },
    ticket: encodeBase64url(ticket),
    hostKey: host.host_key.toString('base64url'),
    context: encodeBase64url(channelContext(session.host_id, session.id)),
    routes: [...routes],
  }
}

function openedTooOften(): SiteError {
  return new SiteError('CONFLICT', 'this session is being opened too often', {
    remedy: 'Try again in half a minute.',
    retryAfter: ticketLifetimeMs / 1000,
  })
}

/** Fresh admissions to every gateway that is there. */
export async function routesTo(
  site: Site,
  session: { readonly id: string; readonly host_id: string },
): Promise<readonly Route[]> {
  const now = site.now()
  const gateways = await onlineAgents(site.store.db, 'gateway', new Date(now - agentSilenceMs))
  const exp = Math.floor((now + routeLifetimeMs) / 1000)
  const token = signRoute({ host: session.host_id, session: session.id, exp }, site.routeKey)
  const routes = gateways.flatMap(({ report: { publicUrl } }) =>
    publicUrl === undefined ? [] : [{ url: publicUrl, token, expiresAt: new Date(exp * 1000).toISOString() }],
  )
  if (routes.length === 0) {
    throw new SiteError('LAUNCH_NO_GATEWAY', 'no gateway is reachable right now', {
      remedy: 'Try again in a moment.',
      retryAfter: 5,
    })
  }
  return routes
}

async function untilArmed(site: Site, sessionId: string, ticket: Buffer): Promise<SessionDetail> {
  const { db } = site.store
  const hex = ticket.toString('hex')
  let session: SessionDetail | undefined
  const settled = await site.hints.until(
    async () => {
      // Before the session: a host arms tickets of what is ready, and the answer says so.
      const isArmed = await isTicketArmed(db, ticket)
      session = await sessionById(db, sessionId)
      return isArmed || session === undefined || session.state === 'ended' || session.state === 'ending'
    },
    (hint) =>
      hint.topic === 'lost' || (hint.topic === 'ticket' && (hint.id === hex || hint.id === sessionId)),
    armTimeoutMs,
  )
  if (session === undefined) throw notFound('session')
  if (session.end !== null) {
    throw new SiteError('LAUNCH_LATE', `the session could not start: ${session.end.reason}`, {
      remedy: 'Try again in a moment.',
      retryAfter: 2,
    })
  }
  if (!settled && session.state === 'ready') {
    throw new SiteError('LAUNCH_LATE', 'the session runs, but its host did not take the ticket in time', {
      remedy:
        'Try again in a moment. If it goes on, the clocks of host and site may differ: the log of the host says so.',
      retryAfter: 5,
    })
  }
  if (!settled) {
    throw new SiteError('LAUNCH_LATE', 'the host did not answer in time', {
      remedy: 'Try again in a moment; another host may be chosen.',
      retryAfter: 5,
    })
  }
  return session
}
