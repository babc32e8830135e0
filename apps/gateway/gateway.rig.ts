import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import {
  type Authority,
  clientTls,
  createAuthority,
  createIdentityKey,
  issueLeaf,
  type Role,
  serverTls,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'
import { relayPath, relayProtocol } from '#core/agent/messages.ts'
import { signRoute } from '#core/agent/route.ts'
import { createGateway, type Gateway } from './gateway.ts'
import { defaultLimits, type GatewayLimits } from './limits.ts'

export const origin = 'https://desk.example'

/** A gateway with hosts and people around it, over real TLS on loopback. */
export class GatewayRig {
  readonly authority: Authority
  readonly gateway: Gateway
  readonly revoked: Set<string>
  readonly #routeKey: KeyObject
  readonly #folder: string
  readonly #sockets = new Set<TLSSocket>()

  private constructor(parts: {
    authority: Authority
    gateway: Gateway
    revoked: Set<string>
    routeKey: KeyObject
    folder: string
  }) {
    this.authority = parts.authority
    this.gateway = parts.gateway
    this.revoked = parts.revoked
    this.#routeKey = parts.routeKey
    this.#folder = parts.folder
  }

  static async start(limits: Partial<GatewayLimits> = {}): Promise<GatewayRig> {
    const folder = await mkdtemp(join(tmpdir(), 'tc-gateway-'))
    const authority = await createAuthority({
      dir: join(folder, 'authority'),
      siteName: 'Test',
      now: Date.now(),
    })
    const { publicKey, privateKey: routeKey } = generateKeyPairSync('ed25519')
    const revoked = new Set<string>()
    const own = await issue(authority, 'gateway', 'g1')
    const gateway = await createGateway({
      siteId: authority.siteId,
      peopleTls: serverTls(own),
      agentTls: serverTls(own, authority.rootPem),
      listen: { people: { address: '127.0.0.1', port: 0 }, agents: { address: '127.0.0.1', port: 0 } },
      routeKeys: () => [publicKey],
      isRevoked: (host) => revoked.has(host),
      allowedOrigins: [origin],
      log: { info: () => undefined, warn: () => undefined },
      clock: Date.now,
      limits: { ...defaultLimits, ...limits },
    })
    return new GatewayRig({ authority, gateway, revoked, routeKey, folder })
  }

  personTls(): ConnectionOptions {
    return { ca: this.authority.rootPem }
  }

  hostTls(identity?: TlsIdentity): ConnectionOptions {
    return clientTls(this.authority.rootPem, { siteId: this.authority.siteId, role: 'gateway' }, identity)
  }

  /** Its handshake done; rejects when the other end closes first. */
  async dial(port: number, options: ConnectionOptions): Promise<TLSSocket> {
    // Node takes the last option, its types do not know it.
    const wanted: ConnectionOptions & { allowHalfOpen: true } = {
      ...options,
      port,
      host: '127.0.0.1',
      allowHalfOpen: true,
    }
    const socket = connect(wanted)
    this.#sockets.add(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve)
      socket.on('error', reject)
      socket.once('close', () => reject(new Error('closed without a word')))
    })
    return socket
  }

  /** A connection of a host that asks to be parked, and the head of the answer to it. */
  async askToPark(identity: TlsIdentity): Promise<{ socket: TLSSocket; answer: string }> {
    const socket = await this.dial(this.gateway.ports.agents, this.hostTls(identity))
    socket.write(
      `GET ${relayPath} HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: ${relayProtocol}\r\n\r\n`,
    )
    return { socket, answer: await readHead(socket) }
  }

  /** A spare of a host, parked. */
  async spare(host: string): Promise<TLSSocket> {
    const { socket, answer } = await this.askToPark(await issue(this.authority, 'host', host))
    if (!answer.startsWith('HTTP/1.1 101 ')) throw new Error(answer)
    return socket
  }

  /** Good for 30 s unless told otherwise, seconds. */
  route(host: string, session: string = randomUUID(), forSec = 30): string {
    return signRoute({ host, session, exp: Math.floor(Date.now() / 1000) + forSec }, this.#routeKey)
  }

  /** A person's connection with its request sent, not yet answered. */
  async person(token: string, headers: readonly string[] = [`Origin: ${origin}`]): Promise<TLSSocket> {
    const socket = await this.dial(this.gateway.ports.people, this.personTls())
    const lines = [
      'GET /channel HTTP/1.1',
      'Host: g',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      `Sec-WebSocket-Protocol: trustcast.1, route.${token}`,
      ...headers,
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    return socket
  }

  /** A person and a host, joined; the request is read already. */
  async pair(): Promise<{ hostId: string; host: TLSSocket; person: TLSSocket }> {
    const hostId = randomUUID()
    const host = await this.spare(hostId)
    const person = await this.person(this.route(hostId))
    await readHead(host)
    return { hostId, host, person }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await this.gateway.close()
    await rm(this.#folder, { recursive: true })
  }
}

/** Reads up to the empty line; what follows goes back. */
export async function readHead(socket: TLSSocket): Promise<string> {
  const bytes = await readUntil(socket, (bytes) => bytes.includes('\r\n\r\n'))
  const end = bytes.indexOf('\r\n\r\n') + 4
  if (bytes.length > end) socket.unshift(bytes.subarray(end))
  return bytes.subarray(0, end).toString('latin1')
}

/** Reads until `isEnough`, if given, or the end; pauses the socket. */
export async function readUntil(socket: TLSSocket, isEnough?: (bytes: Buffer) => boolean): Promise<Buffer> {
  const parts: Buffer[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const take = (part: Buffer): void => {
    parts.push(part)
    if (isEnough?.(Buffer.concat(parts))) resolve()
  }
  const done = (): void => resolve()
  if (socket.closed || socket.readableEnded) resolve()
  socket.on('data', take).on('close', done).on('end', done).resume()
  await promise
  socket.off('data', take).off('close', done).off('end', done)
  socket.pause()
  return Buffer.concat(parts)
}

export async function issue(authority: Authority, role: Role, id: string): Promise<TlsIdentity> {
  const key = await createIdentityKey()
  const { chainPem } = await issueLeaf(authority, {
    publicKey: key.publicKey,
    role,
    id,
    usages: 'both',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    lifetimeMs: 3_600_000,
    now: Date.now(),
  })
  return { chainPem, privateKeyPem: key.privateKeyPem }
}
