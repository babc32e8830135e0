import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
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

/** A gateway with hosts and people around it, over real TLS on loopback. */
export interface Rig extends AsyncDisposable {
  readonly authority: Authority
  readonly gateway: Gateway
  readonly log: string[]
  readonly revoked: Set<string>
  readonly routeKey: ReturnType<typeof generateKeyPairSync>
  identity(role: Role, id: string): Promise<TlsIdentity>
  hostTls(identity?: TlsIdentity): ConnectionOptions
  personTls: ConnectionOptions
  /** A parked spare of a host; resolves when the gateway has accepted it. */
  spare(identity: TlsIdentity): Promise<TLSSocket>
  route(host: string, session?: string, exp?: number): string
  /** A person's connection with its upgrade request sent. */
  person(token: string, headers?: readonly string[]): Promise<TLSSocket>
}

export const origin = 'https://desk.example'

export async function startRig(limits: Partial<GatewayLimits> = {}): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-gateway-'))
  const authority = await createAuthority({
    dir: join(folder, 'authority'),
    siteName: 'Test',
    now: Date.now(),
  })
  const routeKey = generateKeyPairSync('ed25519')
  const log: string[] = []
  const revoked = new Set<string>()
  const identity = (role: Role, id: string): Promise<TlsIdentity> => issue(authority, role, id)
  const own = await identity('gateway', 'g1')
  const gateway = await createGateway({
    siteId: authority.siteId,
    peopleTls: serverTls(own),
    agentTls: serverTls(own, authority.rootPem),
    listen: { people: { address: '127.0.0.1', port: 0 }, agents: { address: '127.0.0.1', port: 0 } },
    routeKeys: () => [routeKey.publicKey],
    isRevoked: (host) => revoked.has(host),
    allowedOrigins: [origin],
    log: { info: (_fields, message) => log.push(message), warn: (_fields, message) => log.push(message) },
    clock: Date.now,
    limits: { ...defaultLimits, ...limits },
  })
  const sockets = new Set<TLSSocket>()
  const dial = async (port: number, options: ConnectionOptions): Promise<TLSSocket> => {
    const socket = connect({ ...options, port, host: '127.0.0.1' })
    sockets.add(socket)
    socket.on('error', () => undefined)
    await Promise.race([
      once(socket, 'secureConnect'),
      once(socket, 'close').then(() => Promise.reject(new Error('closed'))),
    ])
    return socket
  }
  const toGateway = { siteId: authority.siteId, role: 'gateway' } as const
  const personTls: ConnectionOptions = { ca: authority.rootPem, servername: 'localhost' }
  return {
    authority,
    gateway,
    log,
    revoked,
    routeKey,
    identity,
    personTls,
    hostTls: (identity) => clientTls(authority.rootPem, toGateway, identity),
    spare: async (identity) => {
      const socket = await dial(gateway.ports.agents, clientTls(authority.rootPem, toGateway, identity))
      socket.write(
        `GET ${relayPath} HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: ${relayProtocol}\r\n\r\n`,
      )
      const head = await readHead(socket)
      if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(head)
      return socket
    },
    route: (host, session = randomUUID(), exp = Math.floor(Date.now() / 1000) + 30) =>
      signRoute({ host, session, exp }, routeKey.privateKey),
    person: async (token, headers = [`Origin: ${origin}`]) => {
      const socket = await dial(gateway.ports.people, personTls)
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
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await gateway.close()
      await rm(folder, { recursive: true })
    },
  }
}

/** Reads up to the empty line; what follows goes back. */
export async function readHead(socket: TLSSocket): Promise<string> {
  const bytes = await readUntil(socket, (bytes) => bytes.includes('\r\n\r\n'))
  const end = bytes.indexOf('\r\n\r\n') + 4
  if (bytes.length > end) socket.unshift(bytes.subarray(end))
  return bytes.subarray(0, end).toString('latin1')
}

/** Reads until `isEnough` or the end; pauses the socket. */
export async function readUntil(socket: TLSSocket, isEnough: (bytes: Buffer) => boolean): Promise<Buffer> {
  const parts: Buffer[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const take = (part: Buffer): void => {
    parts.push(part)
    if (isEnough(Buffer.concat(parts))) resolve()
  }
  const done = (): void => resolve()
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
