import { execFile } from 'node:child_process'
import { createHash, randomBytes, webcrypto } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { readEndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import type { EndpointCredentials } from '#apps/site-client/call.ts'
import { decodeEntry } from '#core/audit/index.ts'
import { formatLaunchUrl } from '#core/handoff/index.ts'
import { endpointProofHeader, makeEndpointProof } from '#core/identity/endpoint-proof.ts'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { codeFor, type DeviceRequest, type RunningService, startService } from '../endpoint-service.rig.ts'
import { newKey } from '../hosted-person.rig.ts'
import { diskWorkspace, publishForTest } from '../published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'
import { openDatabase, type SiteDatabase } from '../site-database.rig.ts'
import { type RawRequest, refusalIn, send, sendSigned } from './raw-request.rig.ts'

/**
 * I6, for the way from a browser to the device it runs on: whoever is not a page of the site on that device, with a code that is theirs,
 * fresh and unused, has nothing opened anywhere.
 */

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../../trustcast')
const redeemPath = '/api/v1/handoffs/redeem'
let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let nora: SignedInClient
let laptop: RunningService
let other: RunningService
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ;[ada, nora] = [await site.signIn('ada'), await site.signIn('nora')]
  await publishForTest(ada, 'office')
  const workspace = diskWorkspace('office', { modes: ['streamed-disk'] })
  for (const id of ['lab', 'other'])
    await ada.send('PUT', `/admin/workspaces/${id}`, { ...workspace, id }, z.unknown())
  laptop = undo.use(await startService(site, ada, 'laptop-1'))
  await ada.send('POST', `/admin/endpoints/${laptop.id}/owner`, { owner: 'nora' }, z.unknown())
  other = undo.use(await startService(site, ada, 'laptop-2'))
}, 240_000)
afterAll(() => undo.disposeAsync())

const body = (code: string): string => JSON.stringify({ code })

test('a page of another site is refused before what it sends is read, and gets no leave to read the answer', async () => {
  const code = await codeFor(nora, { workspaceId: 'lab', endpointId: laptop.id })
  const tries: Readonly<Record<string, [DeviceRequest, string]>> = {
    'another site': [{ headers: { origin: 'https://evil.example' } }, 'DEVICE_ORIGIN_REFUSED'],
    'a page on another port of the site': [
      { headers: { origin: 'https://localhost:1' } },
      'DEVICE_ORIGIN_REFUSED',
    ],
    'a page without an origin, such as a file': [{ headers: { origin: 'null' } }, 'DEVICE_ORIGIN_REFUSED'],
    'a form, or a link that is followed': [{ headers: { origin: undefined } }, 'DEVICE_ORIGIN_REFUSED'],
    'a name that was made to point here': [
      { headers: { host: `rebind.evil.example:${laptop.port}`, origin: site.url } },
      'DEVICE_HOST_REFUSED',
    ],
    'no name': [{ headers: { host: '' } }, 'DEVICE_HOST_REFUSED'],
    'a form that pretends': [{ headers: { 'content-type': 'text/plain' } }, 'DEVICE_NOT_JSON'],
    'a body without end': [{ headers: { 'content-length': '100000000' } }, 'DEVICE_TOO_LARGE'],
    'another way in': [{ path: '/launch?x' }, 'DEVICE_NO_ROUTE'],
  }
  for (const [what, [change, expected]] of Object.entries(tries)) {
    const request = { method: 'POST', path: '/launch', body: body(code), ...change }
    const { status, headers, text } = await laptop.ask(request)
    expect(status, what).toBeGreaterThanOrEqual(400)
    expect(JSON.parse(text), what).toMatchObject({ code: expected })
    expect(headers['access-control-allow-origin'], what).toBeUndefined()
  }
  const preflight = { method: 'OPTIONS', path: '/launch' }
  const asks = { 'access-control-request-method': 'POST', 'access-control-request-private-network': 'true' }
  const foreign = await laptop.ask({ ...preflight, headers: { ...asks, origin: 'https://evil.example' } })
  expect(foreign.status).toBe(403)
  expect(foreign.headers).not.toHaveProperty('access-control-allow-private-network')
  const own = await laptop.ask({ ...preflight, headers: asks })
  expect(own).toMatchObject({
    status: 204,
    headers: { 'access-control-allow-origin': site.url, 'access-control-allow-private-network': 'true' },
  })
  // Nothing of that has spent the code.
  expect(await redeem(laptop, code)).toBeUndefined()
})

test('only the loopback address of the device is listened on', async () => {
  const { networkInterfaces } = await import('node:os')
  const { connect } = await import('node:net')
  const addresses = Object.values(networkInterfaces())
    .flatMap((one) => one ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
  for (const { address } of addresses)
    await expect(
      new Promise((resolve, reject) => {
        const socket = connect(laptop.port, address)
          .once('connect', () => resolve('open'))
          .once('error', reject)
        socket.once('close', () => socket.destroy())
      }),
    ).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('a code opens once', async () => {
  const code = await codeFor(nora, { workspaceId: 'lab' })
  const [first, second] = await Promise.all([redeem(laptop, code), redeem(laptop, code)])
  expect(new Set([first, second])).toEqual(new Set(['HANDOFF_USED', undefined]))
  expect(await redeem(laptop, code)).toBe('HANDOFF_USED')
  expect(await redeem(other, code)).toBe('HANDOFF_USED')
})

test('a code that was made for one device is refused at another, and is spent by that', async () => {
  const code = await codeFor(nora, { workspaceId: 'lab', endpointId: laptop.id })
  expect(await redeem(other, code)).toBe('HANDOFF_OTHER_ENDPOINT')
  expect(await redeem(laptop, code)).toBe('HANDOFF_USED')
})

test('a code that came by an address opens nothing on a device that nobody owns: any account there may have read it', async () => {
  const code = await codeFor(nora, { workspaceId: 'lab' })
  expect(await redeem(other, code)).toBe('HANDOFF_NO_OWNER')
  expect(await redeem(laptop, code)).toBe('HANDOFF_USED')
})

test('an address that somebody else made for a device whose id they know opens nothing there, nor counts their browser as there', async () => {
  const mallory = await site.signIn('ada')
  const tries = [
    [laptop, { workspaceId: 'lab', endpointId: laptop.id }, 'HANDOFF_OTHER_OWNER'],
    [laptop, { endpointId: laptop.id }, 'HANDOFF_OTHER_OWNER'],
    [other, { workspaceId: 'lab', endpointId: other.id }, 'HANDOFF_NO_OWNER'],
    [other, { endpointId: other.id }, 'HANDOFF_NO_OWNER'],
  ] as const
  for (const [at, wish, expected] of tries)
    await expect(followed(at, await codeFor(mallory, wish))).rejects.toMatchObject({
      stderr: expect.stringContaining(expected),
    })
  // At the device itself the page of whoever sits there asks, and says so by its origin: devices are shared.
  expect(await other.launch(await codeFor(mallory, { endpointId: other.id }))).toEqual({ kind: 'met' })
  expect(await followed(laptop, await codeFor(nora, {}))).toContain('The portal knows this device now.')
}, 60_000)

test("a code that names no device is refused at somebody else's, and good at one's own", async () => {
  expect(await redeem(other, await codeFor(nora, {}))).toBe('HANDOFF_NO_OWNER')
  const owns = async (login: string): Promise<void> => {
    await database.rows(
      'update agents set owner_id = (select id from people where login = $1) where id = $2',
      [login, other.id],
    )
  }
  await owns('carl')
  const code = await codeFor(nora, {})
  expect(await redeem(other, code)).toBe('HANDOFF_OTHER_OWNER')
  expect(await redeem(laptop, code)).toBe('HANDOFF_USED')
  await owns('nora')
  expect(await redeem(other, await codeFor(nora, {}))).toBeUndefined()
})

test('a code of more than a minute is refused', async () => {
  const code = await codeFor(nora, { workspaceId: 'lab' })
  const hash = createHash('sha256').update(code).digest('hex')
  await database.rows(
    `update handoffs set expires_at = expires_at - interval '60 seconds' where code_hash = decode($1, 'hex')`,
    [hash],
  )
  expect(await redeem(laptop, code)).toBe('HANDOFF_EXPIRED')
})

test('a code whose sign-in has ended opens nothing', async () => {
  const leaving = await site.signIn('nora')
  const code = await codeFor(leaving, { workspaceId: 'lab' })
  await leaving.send('DELETE', '/web-sessions/current', undefined, z.unknown())
  expect(await redeem(laptop, code)).toBe('HANDOFF_UNKNOWN')
})

test('a code cannot be guessed, and whoever tries is slowed', async () => {
  const answers = new Set<string | undefined>()
  for (let tries = 0; tries < 8; tries += 1)
    answers.add(await redeem(laptop, randomBytes(32).toString('base64url')))
  expect([...answers]).toEqual(['HANDOFF_UNKNOWN'])
  const credentials = await readEndpointCredentials(laptop.dir)
  // Signed once: a busy machine could not sign faster than it is let ask.
  const one = await redemptionOf(credentials, randomBytes(32).toString('base64url'))
  const ask = async (): Promise<string> => refusalIn(await send(site, one)).code
  const isSlowed = async (): Promise<boolean> =>
    (await Promise.all(Array.from({ length: 130 }, ask))).includes('TOO_FAST')
  await until(isSlowed, 'the site slows it', 60_000)
  // The page is slowed by the device itself before.
  const asked = await Promise.all(
    Array.from({ length: 20 }, () =>
      other.ask({ method: 'POST', path: '/launch', body: body(randomBytes(32).toString('base64url')) }),
    ),
  )
  const codes = asked.map(({ text }) => (JSON.parse(text) as { code: string }).code)
  expect(new Set(codes)).toEqual(new Set(['HANDOFF_UNKNOWN', 'SERVICE_TOO_FAST']))
  // Nor does any account that asks without end fill the device's log.
  expect(other.log()).not.toContain('SERVICE_TOO_FAST')
})

test('nobody but an enrolled endpoint spends a code, and no word of one is good for another request', async () => {
  const code = await codeFor(nora, { workspaceId: 'lab' })
  const theirs = await readEndpointCredentials(other.dir)
  const text = await requestOf(code)
  const good = await signedOver(theirs, text)
  const tries: readonly [string, Record<string, string>][] = [
    ['PROOF_REFUSED', {}],
    ['PROOF_REFUSED', { [proofHeader]: good[proofHeader] ?? '' }],
    ['PROOF_REFUSED', { [endpointProofHeader]: good[endpointProofHeader] ?? '' }],
    ['PROOF_REFUSED', await signedOver(theirs, await requestOf(code))],
    ['ENDPOINT_REFUSED', { ...good, [endpointProofHeader]: 'a.b.c' }],
    ['ENDPOINT_REFUSED', await signedOver({ ...theirs, id: laptop.id }, text)],
  ]
  for (const [expected, headers] of tries) {
    const answer = await send(site, { method: 'POST', path: redeemPath, body: text, headers })
    expect(refusalIn(answer).code).toBe(expected)
  }
  // A signed-in person is no endpoint.
  const mine = await sendSigned(site, nora.credentials, { method: 'POST', path: redeemPath, body: text })
  expect(refusalIn(mine).code).toBe('PROOF_REFUSED')
  // Who is revoked is none any more.
  await ada.send('POST', `/admin/agents/${other.id}/revoke`, {}, z.unknown())
  expect(await redeem(other, code)).toBe('ENDPOINT_REFUSED')
  expect(await redeem(laptop, code)).not.toBe('HANDOFF_USED')
})

test('that a browser met a device raises nothing that the browser itself is given', async () => {
  const browser = await site.signIn('nora')
  await redeemAs(await readEndpointCredentials(laptop.dir), await codeFor(browser, {}))
  const { clientKey } = await newKey()
  const nonce = randomBytes(32).toString('base64url')
  await expect(
    browser.send('POST', '/launches', { workspaceId: 'other', clientKey, nonce }, z.unknown()),
  ).rejects.toMatchObject({ code: 'LAUNCH_REFUSED' })
})

test('every code that was given out, spent or refused is in the log, and no code is', async () => {
  const rows = await database.rows('select entry from audit_entries order by index')
  const entries = rows.map(({ entry }) => decodeEntry(entry as Buffer))
  const kinds = new Set(entries.map(({ kind }) => kind))
  for (const kind of ['handoff-issued', 'handoff-redeemed', 'handoff-refused'] as const)
    expect(kinds).toContain(kind)
  const refusals = entries.filter(({ kind }) => kind === 'handoff-refused').map(({ data }) => data)
  expect(refusals).toContainEqual(expect.objectContaining({ code: 'HANDOFF_OTHER_ENDPOINT' }))
  const code = await codeFor(nora, { workspaceId: 'lab' })
  const stored = await database.rows(`select encode(code_hash, 'base64') as hash from handoffs`)
  expect(JSON.stringify(stored)).not.toContain(code)
})

/** Opens a `trustcast://` address with this code, as a desktop does when a link is followed. @returns what it said */
async function followed({ env }: RunningService, code: string): Promise<string> {
  return (await run(trustcast, ['open', formatLaunchUrl({ site: site.url, code })], { env })).stdout
}

/** @returns the code of the refusal, undefined when the site took it */
async function redeem({ dir }: Pick<RunningService, 'dir'>, code: string): Promise<string | undefined> {
  return redeemAs(await readEndpointCredentials(dir), code)
}

async function redeemAs(credentials: EndpointCredentials, code: string): Promise<string | undefined> {
  const answer = await send(site, await redemptionOf(credentials, code))
  if (answer.status === 201) return undefined
  const refusal = refusalIn(answer).code
  // Taken, and something else was in its way: an earlier launch is still on.
  return refusal === 'CONFLICT' || refusal === 'LAUNCH_LATE' ? undefined : refusal
}

async function redemptionOf(credentials: EndpointCredentials, code: string): Promise<RawRequest> {
  const text = await requestOf(code)
  const headers = await signedOver(credentials, text)
  return { method: 'POST', path: redeemPath, body: text, headers }
}

async function requestOf(code: string): Promise<Buffer> {
  const { clientKey } = await newKey()
  return Buffer.from(JSON.stringify({ code, nonce: randomBytes(32).toString('base64url'), clientKey }))
}

async function signedOver(
  { id: endpointId, siteId, key }: EndpointCredentials,
  text: Buffer,
): Promise<Record<string, string>> {
  const keyPair = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])
  const nowMs = Date.now()
  const random = randomBytes(16)
  const proof = await makeProof({ method: 'POST', path: redeemPath, body: text, keyPair, nowMs, random })
  return {
    [proofHeader]: proof,
    [endpointProofHeader]: makeEndpointProof({ endpointId, siteId, key, proof, nowMs }),
  }
}
