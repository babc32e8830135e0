import { once } from 'node:events'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { TLSSocket } from 'node:tls'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { z } from 'zod'
import {
  type Authority,
  createAuthority,
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
import { connectToSite, enrolAgent, keepRenewed, readIdentity } from './index.ts'

const id = '0198c0de-0000-4000-8000-000000000001'
const hour = 3_600_000
const silent = { info: () => undefined, warn: () => undefined }
let folder: string
let authority: Authority
let site: FakeSite
let stop: AbortController

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-agent-'))
  authority = await createAuthority({ dir: join(folder, 'authority'), siteName: 'Test', now: Date.now() })
  site = await FakeSite.start(await issue('site', 'node1'))
  stop = new AbortController()
})

afterEach(async () => {
  stop.abort()
  await site.close()
  await rm(folder, { recursive: true })
})

test('a machine joins with its token and keeps what it became where only its owner can read it', async () => {
  const identity = await enrol()
  expect(identity).toMatchObject({ kind: 'host', id, siteId: authority.siteId, agentUrl: site.agentUrl })
  expect(await readIdentity(dir())).toEqual(identity)
  expect((await stat(join(dir(), 'agent.json'))).mode & 0o777).toBe(0o600)
  await expect(enrol()).rejects.toMatchObject({ code: 'AGENT_ENROLLED_ALREADY' })
})

test('a token for something else, or of another site, makes it nothing; the secret never leaves', async () => {
  const other = await createAuthority({ dir: join(folder, 'other'), siteName: 'Other', now: Date.now() })
  await expect(enrol(token('gateway'))).rejects.toMatchObject({ code: 'AGENT_WRONG_TOKEN' })
  await expect(enrol(makeToken('host', new Uint8Array(32), other.rootPem))).rejects.toMatchObject({
    code: 'PKI_PIN_MISMATCH',
  })
  expect(site.requests).toEqual(['GET /api/v1/authorities'])
  await expect(readIdentity(dir())).rejects.toMatchObject({ code: 'AGENT_NOT_ENROLLED' })
})

test('whoever shows the right root but cannot prove the site gets no secret', async () => {
  await using impostor = await FakeSite.start(await issue('host', 'h2'))
  await expect(
    enrolAgent({ url: impostor.publicUrl, token: token('host'), dir: dir(), kind: 'host' }),
  ).rejects.toMatchObject({ code: 'PKI_WRONG_PEER' })
  expect(impostor.requests).toEqual(['GET /api/v1/authorities'])
})

test('a refusal of the site comes through with its reason', async () => {
  site.refusal = { code: 'TOKEN_REFUSED', message: 'this token is used', remedy: 'Make a new one.' }
  await expect(enrol()).rejects.toMatchObject({
    code: 'AGENT_SITE_REFUSED',
    message: 'the site refused: TOKEN_REFUSED: this token is used',
    remedy: 'Make a new one.',
  })
})

test('a certificate for another agent is not taken', async () => {
  site.certify = (publicKey) => issueFor(publicKey, 'host', '0198c0de-0000-4000-8000-00000000ffff')
  await expect(enrol()).rejects.toMatchObject({ code: 'AGENT_WRONG_CERTIFICATE' })
})

test('an agent tells and hears its site, and comes back when the connection breaks', async () => {
  await enrol()
  const heard: number[] = []
  const connection = connectToSite<{ n: number }, { hello: string } | { said: number }>(
    {
      dir: dir(),
      decode: z.strictObject({ n: z.number() }),
      onMessage: ({ n }) => heard.push(n),
      hello: () => [{ hello: 'me' }],
      log: silent,
    },
    stop.signal,
  )
  expect(connection.send({ said: 0 })).toBe(false)
  const first = await site.agent()
  expect([first.peer, await first.message()]).toEqual([{ role: 'host', id }, { hello: 'me' }])
  first.socket.send('{"n":1}')
  await expect.poll(() => heard).toEqual([1])
  expect(connection.send({ said: 1 })).toBe(true)
  expect(await first.message()).toEqual({ said: 1 })
  first.socket.terminate()
  const second = await site.agent()
  expect(await second.message()).toEqual({ hello: 'me' })
  second.socket.send('{"unknown":2}')
  await once(second.socket, 'close')
  const third = await site.agent()
  third.socket.send('{"n":3}')
  await expect.poll(() => heard).toEqual([1, 3])
  stop.abort()
  await connection.done
  expect(connection.isConnected).toBe(false)
})

test('a certificate past half of its life is renewed with a new key, and used from then on', async () => {
  // Valid for a minute before now and a second after: past its half at once.
  site.certify = (publicKey) => issueFor(publicKey, 'host', id, 20_000)
  const before = await enrol()
  site.certify = (publicKey) => issueFor(publicKey, 'host', id)
  const renewed = Promise.withResolvers<string>()
  const renewing = keepRenewed(
    { dir: dir(), onRenewed: ({ chainPem }) => renewed.resolve(chainPem), log: silent },
    stop.signal,
  )
  expect(await renewed.promise).not.toBe(before.chainPem)
  expect(site.requests.at(-1)).toBe('POST /renew')
  const after = await readIdentity(dir())
  expect(after.privateKeyPem).not.toBe(before.privateKeyPem)
  expect(after).toMatchObject({ id, chainPem: await renewed.promise })
  stop.abort()
  await renewing
})

function dir(): string {
  return join(folder, 'agent')
}

function token(kind: 'host' | 'gateway'): string {
  return makeToken(kind, new Uint8Array(32).fill(7), authority.rootPem)
}

function enrol(text: string = token('host')): ReturnType<typeof enrolAgent> {
  return enrolAgent({ url: site.publicUrl, token: text, dir: dir(), kind: 'host' })
}

async function issueFor(
  publicKey: Uint8Array<ArrayBuffer>,
  role: Role,
  id: string,
  lifetimeMs: number = hour,
): Promise<string> {
  const order = { publicKey, role, id, lifetimeMs, usages: 'both', ipAddresses: ['127.0.0.1'] } as const
  return (await issueLeaf(authority, { ...order, now: Date.now() })).chainPem
}

async function issue(role: Role, id: string): Promise<TlsIdentity> {
  const { publicKey, privateKeyPem } = await createIdentityKey()
  return { chainPem: await issueFor(publicKey, role, id), privateKeyPem }
}

interface ConnectedAgent {
  readonly peer: PeerIdentity
  readonly socket: WebSocket
  message(): Promise<unknown>
}

/** Speaks the site's side of the protocol with what a test tells it to say. */
class FakeSite {
  readonly requests: string[] = []
  refusal: object | undefined
  certify = (publicKey: Uint8Array<ArrayBuffer>): Promise<string> => issueFor(publicKey, 'host', id)
  readonly #agents: ConnectedAgent[] = []
  readonly #servers: readonly Server[]
  readonly #sockets = new WebSocketServer({ noServer: true })

  static async start(identity: TlsIdentity): Promise<FakeSite> {
    const fake = new FakeSite(identity)
    for (const server of fake.#servers) await once(server.listen(0, '127.0.0.1'), 'listening')
    return fake
  }

  private constructor(identity: TlsIdentity) {
    const tls = [serverTls(identity), serverTls(identity, authority.rootPem)]
    this.#servers = tls.map((options) =>
      createServer(options, (request, response) => void this.#answer(request, response)),
    )
    this.#servers[1]?.on('upgrade', (request, socket, head) => {
      if (request.url !== '/agent' || !(socket instanceof TLSSocket)) {
        socket.destroy()
        return
      }
      const peer = peerIdentity(socket, authority.siteId, ['host', 'gateway'])
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
    if (request.url === '/api/v1/authorities') return void response.end(authority.rootPem)
    if (this.refusal !== undefined) return void response.writeHead(403).end(JSON.stringify(this.refusal))
    const body = JSON.parse(await text(request)) as { request: string }
    const certificate = await this.certify(new Uint8Array(verifyRequest(body.request)))
    const { siteId, rootPem: authorities } = authority
    const answer =
      request.url === '/renew'
        ? { certificate }
        : { id, siteId, certificate, authorities, agentUrl: this.agentUrl }
    response.writeHead(201).end(JSON.stringify(answer))
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
  return (server!.address() as AddressInfo).port
}
