import { z } from 'zod'
import { program } from '#core/api/admin.ts'
import { sessionNotice } from '#core/api/person.ts'
import { bytes32, instant, obligations, right, uuid } from '#core/api/words.ts'
import { agentText } from './agent-text.ts'

/**
 * What agents (hosts and gateways) and a site node say to each other: JSON text messages in one WebSocket
 * over mutual TLS that the agent opens. The site states what it wants, level-triggered and whole; the agent makes it so
 * and reports what is. A lost message or a restarted process on either side is mended by the next one. While no
 * site node answers the agent keeps to the last desired state: sessions go on.
 *
 * Largest message: 4 MiB.
 */

/** `https://name:port` and nothing else, since what a gateway says of itself stands in headers and in people's routes. */
export const agentOrigin: z.ZodString = z
  .string()
  .max(300)
  .regex(/^https:\/\/(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/, 'expected https://name:port')

/** A ticket on its way to the host: sealed to the host's key (`core/channel` seal), so that nobody between can use it. */
export const sealedTicket = z.strictObject({
  /** Ticket id, 16 bytes hex. */
  id: z.string().regex(/^[0-9a-f]{32}$/),
  sessionId: uuid,
  /** Sealed: psk (32 bytes) followed by the client's public key (32 bytes), base64url; prologue = id ‖ session id. */
  sealed: z.string().max(1000),
  expiresAt: instant,
})

const account = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/)
export const mostAccounts = 100

export const desiredSession = z.strictObject({
  id: uuid,
  account,
  fullName: z.string().max(100),
  program,
  width: z.int(),
  height: z.int(),
  limits: z.strictObject({ memoryMiB: z.int(), processes: z.int(), cpuPercent: z.int() }),
  rights: z.array(right),
  obligations,
  endsAt: instant,
  /** Given to the viewer as it is, whenever it changes. */
  notice: sessionNotice,
  /** Nothing passes any more: the delivery is no longer permitted and ends soon. */
  frozen: z.boolean(),
})
export type DesiredSession = z.infer<typeof desiredSession>

export const siteToHost = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('desired'),
    draining: z.boolean(),
    warm: z.int().min(0).max(100),
    gateways: z.array(z.strictObject({ id: uuid, agentUrl: agentOrigin })).max(100),
    /** Every session this host shall run; it ends all others. */
    sessions: z.array(desiredSession).max(2000),
    tickets: z.array(sealedTicket).max(2000),
    /** Accounts that are to go with their homes, without a session anywhere; more of them when these are gone. See `understood.ts`. */
    discard: z.array(account).max(mostAccounts).optional(),
  }),
])
export type SiteToHost = z.infer<typeof siteToHost>

export const hostSession = z.strictObject({
  id: uuid,
  state: z.enum(['starting', 'ready', 'ended']),
  connected: z.boolean(),
  lastInputAt: instant.optional(),
  /** For `ended`: DISPLAY_…, SESSION_IDLE, SESSION_DISCONNECTED, SESSION_OVER, SESSION_PROGRAM_ENDED, SESSION_OUT_OF_MEMORY, … */
  end: z.strictObject({ code: agentText(100), reason: agentText(500) }).optional(),
})
export type HostSession = z.infer<typeof hostSession>

export const hostToSite = z.discriminatedUnion('kind', [
  /** First message of a connection. */
  z.strictObject({
    kind: z.literal('hello'),
    hostKey: bytes32,
    capacity: z.int().min(0).max(2000),
    version: z.string().max(50),
  }),
  /** Every 5 s and at once when a session changes: all sessions this host has, ended ones until the site drops them from `desired`. */
  z.strictObject({
    kind: z.literal('report'),
    cpuPercent: z.number(),
    memoryFreeMiB: z.number(),
    warm: z.int(),
    sessions: z.array(hostSession).max(2000),
  }),
  /** The session runs and the host holds the ticket: its holder may come. */
  z.strictObject({ kind: z.literal('armed'), ticketId: z.string().length(32), sessionId: uuid }),
  z.strictObject({ kind: z.literal('redeemed'), ticketId: z.string().length(32), sessionId: uuid }),
  z.strictObject({
    kind: z.literal('clipboard'),
    sessionId: uuid,
    direction: z.enum(['in', 'out']),
    bytes: z.number(),
    passed: z.boolean(),
  }),
  /** Of the accounts that were to go, those of which nothing is left here; again as long as it is told. */
  z.strictObject({ kind: z.literal('discarded'), accounts: z.array(account).min(1).max(mostAccounts) }),
])
export type HostToSite = z.infer<typeof hostToSite>

export const siteToGateway = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('desired'),
    /** Ed25519 public keys (raw, base64url) whose route tokens are good. */
    routeKeys: z.array(bytes32).max(10),
    /** Hosts whose certificates were withdrawn: their connections are closed. */
    revokedHosts: z.array(uuid).max(10_000),
  }),
])
export type SiteToGateway = z.infer<typeof siteToGateway>

export const gatewayToSite = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('hello'),
    publicUrl: agentOrigin,
    agentUrl: agentOrigin,
    version: z.string().max(50),
  }),
  z.strictObject({ kind: z.literal('report'), connections: z.int(), hosts: z.array(uuid).max(10_000) }),
])
export type GatewayToSite = z.infer<typeof gatewayToSite>

/** Paths on the site's agent port. */
export const agentPath = '/agent'
/** Path on a gateway's agent port where a host waits for a person (HTTP upgrade to `relayProtocol`, see `apps/gateway`). */
export const relayPath = '/relay'
export const relayProtocol = 'trustcast-relay'
/** WebSocket subprotocol of the channel, and the prefix under which the route token travels beside it. */
export const channelProtocol = 'trustcast.1'
export const routePrefix = 'route.'
