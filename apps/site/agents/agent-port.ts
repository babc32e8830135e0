import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { type WebSocket, WebSocketServer } from 'ws'
import {
  channelBinding,
  exportPublic,
  type PeerIdentity,
  peerIdentity,
  serverTls,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'
import { type AgentRow, isAway, livingAgents } from '#adapters/store-postgres/index.ts'
import { type OffloadedSocket, offloadable } from '#adapters/tls-offload/index.ts'
import { agentPath } from '#core/agent/messages.ts'
import { renewAnswer, renewRequest } from '#core/api/admin.ts'
import { type LeaseKeyAnswer, leaseKeyRequest } from '#core/api/lease.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { evidencePeriodMs } from '#core/evidence/index.ts'
import { contains, formatAddress, parseAddress } from '#core/trust/index.ts'
import { releaseKey } from '../data/key-release.ts'
import { livingAgent, renew } from '../endpoints/enrolment.ts'
import type { EvidenceDesk } from '../evidence/evidence-desk.ts'
import type { Site } from '../site.ts'
import { siteErrorStatus } from '../site-error.ts'
import { asOne } from '../turns.ts'
import { createEndpointLink, type EndpointConnection } from './endpoint-link.ts'
import { createGatewayLink } from './gateway-link.ts'
import { createHostLink } from './host-link.ts'
import { answerReplica, replicaWish } from './replica-requests.ts'

const maxMessageBytes = 4 * 1024 * 1024
const maxRequestBytes = 64 * 1024
const pingMs = 10_000
/** Endpoints are many, and their leases end by themselves; who reports is answered within this time and needs no ping. */
const endpointQuietMs = evidencePeriodMs + 5_000
/** Beyond these the socket is not read on. */
const maxWaitingMessages = 64
/** For the last word to an agent that is cut off. */
const lastWordMs = 1_000
/** WebSocket's "going away", RFC 6455 section 7.4.1: what an agent says that ends in order. */
const goingAway = 1001

/** What one agent's connection does with messages. */
export interface AgentLink {
  /**
   * @param at when it was received, Unix ms: it may have waited
   * @throws on a message that does not fit the protocol: the connection is closed
   */
  receive(text: string, at: number): Promise<void>
  /** The agent has answered a ping. */
  alive?(): void
  /** Says once more what is so, before the agent is cut off. */
  lastWord?(): Promise<void>
  /** @param isAnnounced whether the agent said goodbye */
  close(isAnnounced: boolean): void
}

/**
 * The port of a site node that hosts, gateways and endpoints dial: TLS 1.3, mutual (I2). Who speaks is who its certificate says.
 *
 * @returns the server, not yet listening
 */
export function createAgentPort(
  site: Site,
  tls: TlsIdentity,
  desk: EvidenceDesk,
  signal: AbortSignal,
): Server {
  const server = createServer(
    { ...serverTls(tls, site.authority.rootPem), maxHeaderSize: 16_384 },
    (request, response) => void answer(site, request, response),
  )
  // Agents are many and say little.
  const takeOver = offloadable(server)
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
  })
  const links = new Map<WebSocket, Connected>()
  const kindOf = asOne((ids: readonly string[]) => livingAgents(site.store.db, ids))
  const serveWhenAdmitted = async (
    arrival: Arrival,
    request: IncomingMessage,
    head: Buffer,
  ): Promise<void> => {
    const { peer, socket } = arrival
    // Nobody else listens until the upgrade is done: a peer that resets meanwhile must not end the process.
    socket.on('error', () => socket.destroy())
    if (!(await isAdmitted(site, arrival, kindOf))) return
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.once('close', () => links.delete(ws))
      const connected = { peer, link: serve(site, desk, ws, arrival, signal) }
      links.set(ws, connected)
      // Who was revoked while it was admitted was not among the links that were dropped.
      void unlessAway(site, async () => {
        if ((await kindOf(peer.id)) === undefined) void cutOff(ws, connected.link)
      })
    })
  }
  server.on('upgrade', (request, socket, head) => {
    const arrival = arrivalOf(site, request, socket, takeOver)
    if (arrival !== undefined) void serveWhenAdmitted(arrival, request, head)
  })
  const off = site.hints.on((hint) => {
    if (hint.topic === 'agents' || hint.topic === 'lost') void dropRevoked(site, links)
  })
  signal.addEventListener('abort', () => {
    off()
    for (const ws of links.keys()) ws.close(goingAway)
    server.close()
    server.closeAllConnections()
  })
  return server
}

interface Connected {
  readonly peer: PeerIdentity
  readonly link: AgentLink
}

/** An agent that has proven who it is, and its connection. */
interface Arrival extends Pick<EndpointConnection, 'publicKey' | 'provenUntil' | 'exporter'> {
  readonly peer: PeerIdentity
  readonly socket: OffloadedSocket
}

/** INVARIANT: what the handshake proved is read from OpenSSL before it lets go of the connection. */
function arrivalOf(
  site: Site,
  request: IncomingMessage,
  socket: Duplex,
  takeOver: (socket: TLSSocket) => OffloadedSocket,
): Arrival | undefined {
  try {
    if (request.url !== agentPath) throw new Error('unknown path')
    if (!(socket instanceof TLSSocket)) throw new Error('an agent speaks TLS')
    const certificate = socket.getPeerX509Certificate()
    if (certificate === undefined) throw new Error('an agent proves a certificate')
    const peer = provenPeer(site, socket)
    const { validToDate: provenUntil } = certificate
    const publicKey = exportPublic(certificate.publicKey)
    const exporter = channelBinding(socket)
    return { peer, publicKey, provenUntil, exporter, socket: takeOver(socket) }
  } catch (error) {
    turnAway(site, socket, error)
    return undefined
  }
}

async function isAdmitted(
  site: Site,
  { peer, socket }: Arrival,
  kindOf: (agentId: string) => Promise<AgentRow['kind'] | undefined>,
): Promise<boolean> {
  try {
    if ((await kindOf(peer.id)) !== peer.role)
      throw new Error(`${peer.role} ${peer.id} is unknown or revoked`)
    return true
  } catch (error) {
    turnAway(site, socket, error)
    return false
  }
}

function turnAway(site: Site, socket: Duplex, error: unknown): void {
  site.log.warn({ err: error }, 'an agent was turned away')
  socket.on('error', () => socket.destroy())
  socket.end(
    `HTTP/1.1 ${isAway(error) ? '503 Service Unavailable' : '403 Forbidden'}\r\nConnection: close\r\n\r\n`,
  )
}

function provenPeer(site: Site, socket: Duplex): PeerIdentity {
  if (!(socket instanceof TLSSocket)) throw new Error('an agent speaks TLS')
  return peerIdentity(socket, site.siteId, ['host', 'gateway', 'endpoint'])
}

function serve(
  site: Site,
  desk: EvidenceDesk,
  ws: WebSocket,
  arrival: Arrival,
  signal: AbortSignal,
): AgentLink {
  const { peer } = arrival
  const log = site.log.child({ [peer.role]: peer.id })
  const isEndpoint = peer.role === 'endpoint'
  let alive = true
  const timer = setInterval(
    () => {
      if (!alive) return ws.terminate()
      alive = false
      ws.ping()
    },
    isEndpoint ? endpointQuietMs : pingMs,
  )
  const send = (message: unknown): void => {
    if (ws.readyState !== ws.OPEN) return
    ws.send(JSON.stringify(message))
    if (isEndpoint) timer.refresh()
  }
  const link = linkOf(site, desk, arrival, send, log)
  ws.on('pong', () => {
    alive = true
    link.alive?.()
  })
  ws.on('message', () => {
    alive = true
  })
  receiveInOrder(site, ws, link, log)
  ws.on('error', () => ws.terminate())
  ws.once('close', (code) => {
    clearInterval(timer)
    // A node that ends says goodbye itself, and hears its own word again.
    link.close(code === goingAway && !signal.aborted)
    log.info('agent disconnected')
  })
  log.info('agent connected')
  return link
}

function linkOf(
  site: Site,
  desk: EvidenceDesk,
  arrival: Arrival,
  send: (message: unknown) => void,
  log: Logger,
): AgentLink {
  const { role, id } = arrival.peer
  if (role === 'host') return createHostLink(site, id, send, log)
  if (role === 'gateway') return createGatewayLink(site, id, send, log)
  const end = (): void => void arrival.socket.destroy()
  return together(desk, createEndpointLink(site, connectionOf(site, arrival), desk, { send, end }, log))
}

/** Takes what many endpoints say together. */
function together(desk: EvidenceDesk, link: AgentLink): AgentLink {
  const receive = async (text: string, at: number): Promise<void> => {
    await desk.together()
    return link.receive(text, at)
  }
  return { ...link, receive }
}

/** A proxy of ours before this port hides from where an endpoint comes. */
function connectionOf(
  site: Site,
  { peer, publicKey, provenUntil, exporter, socket }: Arrival,
): EndpointConnection {
  const address = parseAddress((socket.remoteAddress ?? '').replace(/%[\w.-]+$/, ''))
  const isProxy = site.trustedProxies.some((proxy) => contains(proxy, address))
  return {
    endpointId: peer.id,
    publicKey,
    provenUntil,
    exporter,
    address: isProxy ? '' : formatAddress(address),
  }
}

/**
 * One message after the other: a report that overtook another would bring back the past. While the database is away the message
 * waits, since some are said only once; an agent that talks on without end meanwhile is read no further.
 */
function receiveInOrder(site: Site, ws: WebSocket, link: AgentLink, log: Logger): void {
  let last = Promise.resolve()
  let waiting = 0
  let isRefused = false
  const receive = async (data: Buffer, isBinary: boolean, at: number): Promise<void> => {
    if (isRefused) return
    try {
      if (isBinary) throw new Error('expected text')
      await whenDatabaseIsThere(
        () => link.receive(data.toString(), at),
        () => ws.readyState === ws.OPEN,
      )
    } catch (error) {
      isRefused = true
      log.warn({ err: error }, 'a message of an agent was refused')
      ws.close(1008)
    }
    waiting -= 1
    if (ws.isPaused && waiting < maxWaitingMessages / 2) ws.resume()
  }
  ws.on('message', (data: Buffer, isBinary) => {
    waiting += 1
    if (waiting >= maxWaitingMessages) ws.pause()
    const at = site.now()
    last = last.then(() => receive(data, isBinary, at))
  })
}

async function whenDatabaseIsThere(work: () => Promise<void>, worthWaiting: () => boolean): Promise<void> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isAway(error)) throw error
      if (!worthWaiting()) return
      await sleep(500)
    }
  }
}

async function dropRevoked(site: Site, links: ReadonlyMap<WebSocket, Connected>): Promise<void> {
  const all = [...links]
  await unlessAway(site, async () => {
    const living = await livingAgents(
      site.store.db,
      all.map(([, { peer }]) => peer.id),
    )
    for (const [ws, { peer, link }] of all) if (!living.has(peer.id)) void cutOff(ws, link)
  })
}

/** What is not seen while the database is away is looked at again with the hint that comes when it is back. */
async function unlessAway(site: Site, look: () => Promise<void>): Promise<void> {
  try {
    await look()
  } catch (error) {
    if (!isAway(error)) site.log.error({ err: error }, 'revoked agents could not be told apart')
  }
}

/** Not asked to close: it could take its time. */
async function cutOff(ws: WebSocket, link: AgentLink): Promise<void> {
  const timer = setTimeout(() => ws.terminate(), lastWordMs)
  await link.lastWord?.().catch(() => undefined)
  // What was said goes out before this does.
  if (link.lastWord !== undefined && ws.readyState === ws.OPEN)
    await new Promise((resolve) => ws.ping(undefined, undefined, resolve))
  clearTimeout(timer)
  ws.terminate()
}

/** Plain requests: whether an identity is good, the renewal of certificates, keys under leases, and replicas of what endpoints write. */
async function answer(site: Site, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const reply = (status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  try {
    const peer = provenPeer(site, request.socket)
    const wish = replicaWish(request)
    if (wish !== undefined) return await answerReplica(site, peer, wish, request, response)
    const leaseId = request.method === 'POST' ? keyWish(request.url) : undefined
    if (leaseId !== undefined) {
      const endpoint = await livingAgent(site, peer)
      const { keyTicket } = leaseKeyRequest.parse(JSON.parse(await readBody(request)))
      const sealedKey = await releaseKey(site, endpoint, { leaseId, keyTicket })
      return reply(200, { sealedKey } satisfies LeaseKeyAnswer)
    }
    if (request.method === 'GET' && request.url === '/identity') {
      await livingAgent(site, peer)
      return reply(200, {})
    }
    if (request.method !== 'POST' || request.url !== '/renew')
      return reply(404, {
        code: 'BAD_REQUEST',
        message: 'there is GET /identity, POST /renew, and what leases have',
      })
    const body = renewRequest.parse(JSON.parse(await readBody(request)))
    reply(200, renewAnswer.parse(await renew(site, peer, body.request, body.attestation)))
  } catch (error) {
    if (isAway(error))
      return reply(503, { code: 'SITE_BUSY', message: 'the database is away', retryAfter: 5 })
    const { code, remedy } = isCoded(error) ? error : { code: 'BAD_REQUEST', remedy: undefined }
    const status = code in siteErrorStatus ? siteErrorStatus[code as keyof typeof siteErrorStatus] : 400
    site.log.warn({ err: error }, 'a request of an agent was refused')
    const message = error instanceof Error ? error.message : 'refused'
    reply(status, { code, message, ...(remedy === undefined ? {} : { remedy }) })
  }
}

/** `POST /leases/LEASE/key` */
function keyWish(url = ''): string | undefined {
  return /^\/leases\/(?<leaseId>[0-9a-f-]{36})\/key$/.exec(url)?.groups?.['leaseId']
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > maxRequestBytes) throw new Error(`a request has at most ${maxRequestBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}
