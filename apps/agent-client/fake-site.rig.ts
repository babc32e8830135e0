import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import { text } from 'node:stream/consumers'
import { TLSSocket } from 'node:tls'
import { expect } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import {
  type Authority,
  createIdentityKey,
  issueLeaf,
  makeToken,
  type PeerIdentity,
  peerIdentity,
  type Role,
  serverTls,
  type TlsIdentity,
  verifyRequest,
} from '#adapters/pki-x509/index.ts'
import type { AgentIdentity } from './agent-identity.ts'

type AgentKind = AgentIdentity['kind']

/** The id of every agent that joins a fake site. */
export const agentId = '0198c0de-0000-4000-8000-000000000001'

export async function issueFor(
  authority: Authority,
  publicKey: Uint8Array<ArrayBuffer>,
  role: Role,
  id: string,
  lifetimeMs: number = 3_600_000,
): Promise<string> {
  const order = { publicKey, role, id, lifetimeMs, usages: 'both', ipAddresses: ['127.0.0.1'] } as const
  return (await issueLeaf(authority, { ...order, now: Date.now() })).chainPem
}

export async function issue(authority: Authority, role: Role, id: string): Promise<TlsIdentity> {
  const { publicKey, privateKeyPem } = await createIdentityKey()
  return { chainPem: await issueFor(authority, publicKey, role, id), privateKeyPem }
}
export interface ConnectedAgent {
  readonly peer: PeerIdentity
  readonly socket: WebSocket
  message(): Promise<unknown>
}

/** Speaks the site's side of the protocol with what a test tells it to say. */
export class FakeSite {
  readonly authority: Authority
  /** What joins here. */
  readonly kind: AgentKind
  readonly requests: string[] = []
  refusal: object | undefined
  certify = (publicKey: Uint8Array<ArrayBuffer>): Promise<string> =>
    issueFor(this.authority, publicKey, this.kind, agentId)
  readonly #agents: ConnectedAgent[] = []
  readonly #servers: readonly Server[]
  readonly #sockets = new WebSocketServer({ noServer: true })

  static async start(authority: Authority, kind: AgentKind, role: Role = 'site'): Promise<FakeSite> {
    const fake = new FakeSite(authority, kind, await issue(authority, role, 'node1'))
    for (const server of fake.#servers) await once(server.listen(0, '127.0.0.1'), 'listening')
    return fake
  }

  private constructor(authority: Authority, kind: AgentKind, identity: TlsIdentity) {
    this.authority = authority
    this.kind = kind
    const tls = [serverTls(identity), serverTls(identity, authority.rootPem)]
    this.#servers = tls.map((options) =>
      createServer(options, (request, response) => void this.#answer(request, response)),
    )
    this.#servers[1]?.on('upgrade', (request, socket, head) => {
      if (request.url !== '/agent' || !(socket instanceof TLSSocket)) {
        socket.destroy()
        return
      }
      const peer = peerIdentity(socket, authority.siteId, ['host', 'gateway', 'endpoint'])
      this.#sockets.handleUpgrade(request, socket, head, (ws) => {
        const messages: unknown[] = []
        ws.on('message', (data: Buffer) => messages.push(JSON.parse(data.toString())))
        const message = (): Promise<unknown> =>
          expect
            .poll(() => messages.length)
            .toBeGreaterThan(0)
            .then(() => messages.shift())
        this.#agents.push({ peer, socket: ws, message })
      })
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push(`${request.method} ${request.url}`)
    if (request.url === '/api/v1/authorities') return void response.end(this.authority.rootPem)
    if (this.refusal !== undefined) return void response.writeHead(403).end(JSON.stringify(this.refusal))
    if (request.url === '/identity') return void response.end('{}')
    const body = JSON.parse(await text(request)) as { request: string }
    const certificate = await this.certify(new Uint8Array(verifyRequest(body.request)))
    const { siteId, rootPem: authorities } = this.authority
    const answer =
      request.url === '/renew'
        ? { certificate }
        : {
            id: agentId,
            siteId,
            certificate,
            authorities,
            agentUrl: this.agentUrl,
            directorKey: 'A'.repeat(43),
          }
    response.writeHead(201).end(JSON.stringify(answer))
  }

  token(kind: AgentKind = this.kind): string {
    return makeToken(kind, new Uint8Array(32).fill(7), this.authority.rootPem)
  }

  get publicUrl(): string {
    return `https://127.0.0.1:${portOf(this.#servers[0])}`
  }

  get agentUrl(): string {
    return `https://127.0.0.1:${portOf(this.#servers[1])}`
  }

  /** The next agent that connects. */
  async agent(): Promise<ConnectedAgent> {
    await expect.poll(() => this.#agents.length, { timeout: 10_000 }).toBeGreaterThan(0)
    return this.#agents.shift() as ConnectedAgent
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate()
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function portOf(server: Server | undefined): number {
  const address = server?.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
