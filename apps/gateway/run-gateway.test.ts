import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createAuthority } from '#adapters/pki-x509/index.ts'
import { FakeSite, issueFor } from '../agent-client/fake-site.rig.ts'
import { enrolAgent } from '../agent-client/index.ts'
import type { Gateway } from './gateway.ts'
import { gatewayConfig, runGateway } from './run-gateway.ts'

const silent = { info: () => undefined, warn: () => undefined }
const { publicKey } = generateKeyPairSync('ed25519')
const desired = {
  kind: 'desired',
  routeKeys: [publicKey.export({ format: 'jwk' }).x],
  revokedHosts: [randomUUID()],
}
let folder: string
let site: FakeSite

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-run-'))
  const authority = await createAuthority({
    dir: join(folder, 'authority'),
    siteName: 'Test',
    now: Date.now(),
  })
  site = await FakeSite.start(authority, 'gateway')
  await enrolAgent({
    url: site.publicUrl,
    token: site.token(),
    dir: join(folder, 'gateway'),
    kind: 'gateway',
  })
})

afterEach(async () => {
  await site.close()
  await rm(folder, { recursive: true })
})

test('a gateway says where it is, takes what the site wants, and still knows it when it starts without the site', async () => {
  {
    await using run = await start()
    const agent = await site.agent()
    expect([agent.peer.role, await agent.message(), await agent.message()]).toEqual([
      'gateway',
      { kind: 'hello', publicUrl: 'https://g.example', agentUrl: 'https://g.example:8444', version: '1' },
      { kind: 'report', connections: 0, hosts: [] },
    ])
    expect(await isReady(run.gateway)).toBe(false)
    agent.socket.send(JSON.stringify(desired))
    await expect.poll(() => isReady(run.gateway)).toBe(true)
    expect(await agent.message()).toMatchObject({ kind: 'report' })
  }
  await site.close()
  await using again = await start()
  expect(await isReady(again.gateway)).toBe(true)
})

test('a renewed certificate is what new connections meet, without a restart', async () => {
  site.certify = (key) =>
    issueFor(site.authority, key, 'gateway', '0198c0de-0000-4000-8000-000000000001', 40_000)
  await rm(join(folder, 'gateway'), { recursive: true })
  await enrolAgent({
    url: site.publicUrl,
    token: site.token(),
    dir: join(folder, 'gateway'),
    kind: 'gateway',
  })
  site.certify = (key) => issueFor(site.authority, key, 'gateway', '0198c0de-0000-4000-8000-000000000001')
  await using run = await start()
  await expect.poll(() => lifetimeMs(run.gateway), { timeout: 10_000 }).toBeGreaterThan(3_000_000)
})

async function start(): Promise<AsyncDisposable & { readonly gateway: Gateway }> {
  const stop = new AbortController()
  const ready = Promise.withResolvers<Gateway>()
  const config = gatewayConfig.parse({
    state: join(folder, 'gateway'),
    people: { address: '127.0.0.1', port: 0 },
    agents: { address: '127.0.0.1', port: 0 },
    publicUrl: 'https://g.example',
    agentUrl: 'https://g.example:8444',
    allowedOrigins: ['https://desk.example'],
  })
  const running = runGateway({ config, version: '1', log: silent, onReady: ready.resolve }, stop.signal)
  const gateway = await Promise.race([ready.promise, running.then(() => Promise.reject(new Error('ended')))])
  return {
    gateway,
    [Symbol.asyncDispose]: async () => {
      stop.abort()
      await running
    },
  }
}

async function isReady({ ports }: Gateway): Promise<boolean> {
  const socket = connect({ port: ports.people, host: '127.0.0.1', ca: site.authority.rootPem })
  socket.write('GET /readyz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n')
  const [head] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return head.toString().startsWith('HTTP/1.1 200 ')
}

async function lifetimeMs({ ports }: Gateway): Promise<number> {
  const socket = connect({ port: ports.people, host: '127.0.0.1', ca: site.authority.rootPem })
  await once(socket, 'secureConnect')
  const certificate = socket.getPeerX509Certificate()
  socket.destroy()
  return (certificate?.validToDate.getTime() ?? 0) - Date.now()
}
