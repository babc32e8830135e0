import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { z } from 'zod'
import {
  type Authority,
  createAuthority,
  isUnknownAuthority,
  makeToken,
  parseToken,
  serverTls,
} from '#adapters/pki-x509/index.ts'
import { exportPublic } from '#core/channel/index.ts'
import { FakeSite, agentId as id, issue, issueFor } from './fake-site.rig.ts'
import {
  AgentError,
  backoff,
  connectToSite,
  enrolAgent,
  isRefusal,
  keepRenewed,
  loadX25519Key,
  readIdentity,
  replaceFile,
} from './index.ts'
import { untilAnother } from './keep-renewed.ts'

const silent = { info: () => undefined, warn: () => undefined }
let folder: string
let authority: Authority
let site: FakeSite
let stop: AbortController

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-agent-'))
  authority = await createAuthority({ dir: join(folder, 'authority'), siteName: 'Test', now: Date.now() })
  site = await FakeSite.start(authority, 'host')
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
  expect(await readIdentity(dir())).toEqual(identity)
})

test('an identity that is over gives way to a new one at the same site, and all else stays', async () => {
  site.certify = (publicKey) => issueFor(authority, publicKey, 'host', id, 1)
  const before = await enrol()
  await mkdir(join(dir(), 'floors'))
  await writeFile(join(dir(), 'floors/office@4'), '')
  site.certify = (publicKey) => issueFor(authority, publicKey, 'host', id)
  const after = await enrol()
  expect(after.privateKeyPem).not.toBe(before.privateKeyPem)
  expect(await readdir(join(dir(), 'floors'))).toEqual(['office@4'])
})

test('an identity that a disk has damaged is said to be, with what to do, and nothing takes its place unasked', async () => {
  await enrol()
  await writeFile(join(dir(), 'agent.json'), '')
  const damaged = { code: 'AGENT_KEY_DAMAGED', remedy: expect.stringContaining('move it away') as string }
  await expect(readIdentity(dir())).rejects.toMatchObject(damaged)
  await expect(enrol()).rejects.toMatchObject(damaged)
})

test('in the folder of another site, or of another kind, nothing is enrolled, be its identity over or not', async () => {
  site.certify = (publicKey) => issueFor(authority, publicKey, 'host', id, 1)
  await enrol()
  const other = await createAuthority({ dir: join(folder, 'other'), siteName: 'Other', now: Date.now() })
  const { publicUrl: url } = site
  const refused = { code: 'AGENT_ENROLLED_ALREADY', remedy: expect.stringContaining('--state') as string }
  for (const token of [makeToken('host', new Uint8Array(32), other.rootPem), site.token('gateway')]) {
    const { kind } = parseToken(token)
    const asked = enrolAgent({ url, token, dir: dir(), kind: kind === 'host' ? 'host' : 'gateway' })
    await expect(asked).rejects.toMatchObject(refused)
  }
  expect(site.requests.filter((asked) => asked === 'GET /api/v1/authorities')).toHaveLength(1)
})

test('whoever has lost the secret of the machine enrols it again in the same folder', async () => {
  await using endpoints = await FakeSite.start(authority, 'endpoint')
  const wish = { url: endpoints.publicUrl, token: endpoints.token(), dir: dir(), kind: 'endpoint' } as const
  await enrolAgent(wish)
  await loadX25519Key(join(dir(), 'seal-key'), 'seal-key')
  vi.stubEnv('TRUSTCAST_HOST_SECRET', join(folder, 'another-secret'))
  try {
    await enrolAgent(wish)
    expect(await readIdentity(dir())).toMatchObject({ kind: 'endpoint', id })
    await loadX25519Key(join(dir(), 'seal-key'), 'seal-key')
  } finally {
    vi.unstubAllEnvs()
  }
})

test('no token is spent where what it brings could not be kept', async () => {
  await using endpoints = await FakeSite.start(authority, 'endpoint')
  const wish = { url: endpoints.publicUrl, token: endpoints.token(), kind: 'endpoint' } as const
  const secret = join(folder, 'no-secret')
  await writeFile(secret, 'short', { mode: 0o600 })
  vi.stubEnv('TRUSTCAST_HOST_SECRET', secret)
  try {
    await expect(enrolAgent({ ...wish, dir: dir() })).rejects.toMatchObject({
      code: 'AGENT_HOST_SECRET_UNSAFE',
    })
  } finally {
    vi.unstubAllEnvs()
  }
  await expect(enrolAgent({ ...wish, dir: join(secret, 'no-folder') })).rejects.toMatchObject({
    code: 'ENOTDIR',
  })
  expect(endpoints.requests).toEqual([])
})

test('a token for something else, or of another site, makes it nothing; the secret never leaves', async () => {
  const other = await createAuthority({ dir: join(folder, 'other'), siteName: 'Other', now: Date.now() })
  await expect(enrol(site.token('gateway'))).rejects.toMatchObject({ code: 'AGENT_WRONG_TOKEN' })
  await expect(enrol(makeToken('host', new Uint8Array(32), other.rootPem))).rejects.toMatchObject({
    code: 'PKI_PIN_MISMATCH',
  })
  expect(site.requests).toEqual(['GET /api/v1/authorities'])
  await expect(readIdentity(dir())).rejects.toMatchObject({ code: 'AGENT_NOT_ENROLLED' })
})

test('whoever shows the right root but cannot prove the site gets no secret', async () => {
  await using impostor = await FakeSite.start(authority, 'host', 'host')
  await expect(
    enrolAgent({ url: impostor.publicUrl, token: site.token(), dir: dir(), kind: 'host' }),
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
  site.certify = (publicKey) => issueFor(authority, publicKey, 'host', '0198c0de-0000-4000-8000-00000000ffff')
  await expect(enrol()).rejects.toMatchObject({ code: 'AGENT_WRONG_CERTIFICATE' })
})

test('an agent tells and hears its site, and comes back when the connection breaks', async () => {
  await enrol()
  const heard: number[] = []
  let clock = 0
  const connection = connectToSite<{ n: number }, { hello: string } | { said: number }>(
    {
      dir: dir(),
      decode: z.strictObject({ n: z.number() }),
      onMessage: ({ n }) => heard.push(n),
      hello: () => [{ hello: 'me' }],
      steadyMs: () => clock,
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
  // As a machine that slept, whose connection its site has given up meanwhile.
  clock += 30_000
  await once(third.socket, 'close')
  await site.agent()
  stop.abort()
  await connection.done
  expect(connection.isConnected).toBe(false)
})

test('an agent says why a connection was lost: somebody else who answers has an unknown authority', async () => {
  await enrol()
  const other = await createAuthority({ dir: join(folder, 'other'), siteName: 'Proxy', now: Date.now() })
  const port = Number(new URL(site.agentUrl).port)
  const lost: boolean[] = []
  const warned: string[] = []
  connectToSite(
    {
      dir: dir(),
      decode: z.strictObject({}),
      onMessage: () => undefined,
      hello: () => [],
      onLost: (error) => lost.push(isUnknownAuthority(error)),
      log: { ...silent, warn: ({ err }: { err?: Error }) => warned.push(String(err)) },
    },
    stop.signal,
  )
  await site.agent()
  await site.close()
  await expect.poll(() => lost.length).toBeGreaterThan(2)
  expect(lost).not.toContain(true)
  // However often it is dialled in vain, the log says it once.
  expect(warned).toEqual([expect.stringContaining('ECONNREFUSED')])
  const server = createServer(serverTls(await issue(other, 'site', 'node1')))
  server.listen(port, '127.0.0.1')
  try {
    await expect.poll(() => lost).toContain(true)
  } finally {
    server.close()
  }
})

test('a certificate past half of its life is renewed with a new key, and used from then on', async () => {
  // Valid from a minute before now to 20 s after: past its half at once.
  site.certify = (publicKey) => issueFor(authority, publicKey, 'host', id, 20_000)
  const before = await enrol()
  site.certify = (publicKey) => issueFor(authority, publicKey, 'host', id)
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

test('who is refused asks less and less often, but at once with another identity; who is told to wait does not', async () => {
  expect(['ENDPOINT_REFUSED', 'NOT_ALLOWED', 'TPM_QUOTE_FORGED'].map(isRefusalWith)).not.toContain(false)
  expect(['SITE_BUSY', 'TOO_FAST'].map(isRefusalWith)).not.toContain(true)
  expect(backoff(20, 600_000)).toBeGreaterThan(backoff(20))
  const waiting = untilAnother(dir(), 3_600_000, stop.signal)
  await enrol()
  await waiting
})

test('a key that several processes ask for at once, for the first time, is one', async () => {
  const path = join(folder, 'seal-key')
  for (const purpose of [undefined, 'seal-key']) {
    const keys = await Promise.all(Array.from({ length: 8 }, () => loadX25519Key(path, purpose)))
    const known = await Promise.all(keys.map(async ({ publicKey }) => exportPublic(publicKey)))
    expect(new Set(known.map((key) => Buffer.from(key).toString('hex'))).size).toBe(1)
  }
  expect((await readdir(folder)).filter((name) => name.startsWith('seal-key'))).toEqual(['seal-key'])
})

test('a file that several replace at once is whole, and nothing else is left', async () => {
  const path = join(folder, 'state/count.json')
  await mkdir(join(folder, 'state'))
  const texts = Array.from({ length: 20 }, (_, index) => `${index}`.repeat(10_000))
  await Promise.all(texts.map((text) => replaceFile(path, text)))
  expect(texts).toContain(await readFile(path, 'utf8'))
  // As when the device is full.
  await mkdir(join(folder, 'state/taken/full'), { recursive: true })
  await expect(replaceFile(join(folder, 'state/taken'), '1')).rejects.toThrow()
  expect((await readdir(join(folder, 'state'))).toSorted()).toEqual(['count.json', 'taken'])
})

function isRefusalWith(siteCode: string): boolean {
  return isRefusal(new AgentError('AGENT_SITE_REFUSED', '', { siteCode }))
}

function dir(): string {
  return join(folder, 'agent')
}

function enrol(text: string = site.token()): ReturnType<typeof enrolAgent> {
  return enrolAgent({ url: site.publicUrl, token: text, dir: dir(), kind: 'host' })
}
