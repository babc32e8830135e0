import { randomBytes } from 'node:crypto'
import { cp, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { postJson, readIdentity } from '#apps/agent-client/index.ts'
import {
  type OfferedKey,
  readEndpointCredentials,
  startEndpointAgent,
} from '#apps/endpoint/endpoint-agent.ts'
import type { Credentials, EndpointCredentials } from '#apps/site-client/call.ts'
import { endpointsAnswer } from '#core/api/lease.ts'
import { decodeEntry } from '#core/audit/index.ts'
import { endpointProofHeader, makeEndpointProof } from '#core/identity/endpoint-proof.ts'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { maxOpenLeases, unsealImageKey } from '#core/lease/index.ts'
import { diskOf, type EnrolledEndpoint, enrolEndpoint } from '../enrolled-endpoint.rig.ts'
import { newKey } from '../hosted-person.rig.ts'
import { diskWorkspace, type PublishedForTest, publishForTest } from '../published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'
import { openDatabase, type SiteDatabase } from '../site-database.rig.ts'
import { type RawAnswer, refusalIn, send } from './raw-request.rig.ts'
import { readable, secret } from './secrets.rig.ts'

const launches = '/api/v1/launches'
const silent = { info: () => undefined, warn: () => undefined }
let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let nora: SignedInClient
let release: PublishedForTest
let laptop: EnrolledEndpoint
let other: EnrolledEndpoint
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ;[ada, nora] = [await site.signIn('ada'), await site.signIn('nora')]
  release = await publishForTest(ada, 'office')
  const workspace = diskWorkspace('office', { modes: ['streamed-disk'] })
  await ada.send('PUT', '/admin/workspaces/lab', workspace, z.unknown())
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop-1'))
  other = undo.use(await enrolEndpoint(site, ada, 'laptop-2'))
})
afterAll(() => undo.disposeAsync())

test('without the word of an endpoint nothing that a client says makes its machine one', async () => {
  const evidence = [
    { name: 'endpoint.management', value: 'managed' },
    { name: 'endpoint.deviceKey', value: 'tpm' },
  ]
  const answers = [
    await launchBy(nora.credentials, {}),
    await launchBy(nora.credentials, { evidence }),
    await launchBy(nora.credentials, { headers: { 'x-trustcast-endpoint': laptop.agent.id } }),
  ]
  for (const answer of answers) expect(refusalIn(answer).code).toBe('LAUNCH_REFUSED')
  expect(await keysReleased()).toBe(0)
})

test('a word that does not hold is refused, and never passed over', async () => {
  const [mine, theirs] = [await readEndpointCredentials(laptop.dir), await readEndpointCredentials(other.dir)]
  const [host] = await database.rows(`select id from agents where kind = 'host'`)
  const at = Date.now()
  const wrong: Readonly<Record<string, (proof: string) => string>> = {
    empty: () => '',
    'no token': () => 'managed',
    'of a machine that nobody knows': (proof) => by(theirs, { endpointId: crypto.randomUUID(), proof }),
    'of a host': (proof) => by(theirs, { endpointId: String(host?.['id']), proof }),
    'by the key of another endpoint': (proof) => by(theirs, { endpointId: mine.id, proof }),
    'over another request': () => by(mine, { proof: 'a.b.c' }),
    'for another site': (proof) => by(mine, { siteId: crypto.randomUUID(), proof }),
    'too old': (proof) => by(mine, { nowMs: at - 120_000, proof }),
    'without a signature': (proof) => by(mine, { proof }).replace(/[^.]*$/, ''),
    'cut off': (proof) => by(mine, { proof }).slice(0, -4),
  }
  for (const [what, endpointProof] of Object.entries(wrong)) {
    const answer = await launchBy(nora.credentials, { endpointProof })
    expect(refusalIn(answer), what).toMatchObject({ code: 'ENDPOINT_REFUSED', remedy: expect.any(String) })
  }
  expect(await keysReleased()).toBe(0)
})

test('a request that was seen opens nothing a second time, nor together with another one', async () => {
  const mine = await readEndpointCredentials(laptop.dir)
  let seen: { proof: string; endpointProof: string } | undefined
  const first = await launchBy(nora.credentials, {
    // A nonce of the wrong form: refused after both words were read.
    nonce: 'x',
    endpointProof: (proof) => {
      seen = { proof, endpointProof: by(mine, { proof }) }
      return seen.endpointProof
    },
  })
  expect(refusalIn(first).code).toBe('BAD_REQUEST')
  const again = { proof: seen?.proof, endpointProof: () => seen?.endpointProof ?? '' }
  expect(refusalIn(await launchBy(nora.credentials, again)).code).toBe('PROOF_REFUSED')
  const carl = await site.signIn('carl')
  const borrowed = await launchBy(carl.credentials, { endpointProof: again.endpointProof })
  expect(refusalIn(borrowed).code).toBe('ENDPOINT_REFUSED')
})

test('a key goes to one endpoint under one lease, and stands in no other answer, table or log', async () => {
  const made = diskOf(await laptop.launch(nora, 'lab'))
  // The launch alone brought none, and nobody else gets it, also who proves a certificate of this site.
  expect(await keysReleased()).toBe(0)
  const refused = { code: 'AGENT_SITE_REFUSED', siteCode: 'NOT_FOUND' }
  await expect(other.agent.askForKey(made.lease)).rejects.toMatchObject(refused)
  await expect(laptop.agent.askForKey({ ...made.lease, id: crypto.randomUUID() })).rejects.toMatchObject(
    refused,
  )
  await expect(askWithoutCertificate(made.lease)).rejects.toThrow()
  // A copy of its identity is told of the lease, too, but was not given it.
  await using copy = await startEndpointAgent({ dir: laptop.dir, version: 'test', log: silent })
  const guessed = randomBytes(32).toString('base64url')
  await expect(copy.askForKey({ id: made.lease.id, keyTicket: guessed })).rejects.toMatchObject(refused)
  const another = diskOf(await other.launch(ada, 'lab'))
  await expect(copy.askForKey({ ...made.lease, keyTicket: another.lease.keyTicket })).rejects.toMatchObject(
    refused,
  )
  expect(await keysReleased()).toBe(0)
  const sealed = await laptop.agent.askForKey(made.lease)
  const mine = { leaseId: made.lease.id, endpointId: laptop.agent.id }
  expect(Buffer.from(await unsealImageKey(laptop.agent.sealKeys, sealed, mine))).toEqual(release.key)
  const unusable = { code: 'LEASE_KEY_UNREADABLE' }
  await expect(unsealImageKey(other.agent.sealKeys, sealed, mine)).rejects.toMatchObject(unusable)
  const elsewhere = { ...mine, endpointId: other.agent.id }
  await expect(unsealImageKey(other.agent.sealKeys, sealed, elsewhere)).rejects.toMatchObject(unusable)

  const paths = [
    '/endpoints',
    '/admin/sessions',
    '/admin/decisions',
    '/admin/workspaces',
    '/releases',
    '/images',
  ]
  const answers = await Promise.all(paths.map((path) => ada.get(path, z.unknown())))
  const tables = ['image_keys', 'leases', 'sessions', 'audit_entries', 'decisions', 'agents']
  const rows = await Promise.all(tables.map((table) => database.rows(`select * from ${table}`)))
  const logs = await Promise.all(['site', 'up'].map((name) => readFile(join(site.state, `logs/${name}.log`))))
  const everything = Buffer.concat([
    Buffer.from(JSON.stringify([made, answers])),
    ...rows.flat().flatMap((row) => Object.values(row).map(bytesOf)),
    ...logs,
  ])
  expect(readable(everything, [secret('the image key', release.key)])).toEqual([])
  for (const method of ['GET', 'PUT', 'DELETE'])
    expect(refusalIn(await send(site, { method, path: '/api/v1/images/office/key' })).code).toMatch(
      /NOT_FOUND|NOT_SIGNED_IN/,
    )
  await nora.send('DELETE', `/sessions/${made.session.id}`, undefined, z.unknown())
})

test('only admins deposit keys, and nobody replaces one', async () => {
  const body = { key: randomBytes(32).toString('base64url') }
  await expect(nora.send('POST', '/images/new/key', body, z.unknown())).rejects.toMatchObject({
    code: 'NOT_ALLOWED',
  })
  await expect(ada.send('POST', '/images/office/key', body, z.unknown())).rejects.toMatchObject({
    code: 'CONFLICT',
  })
})

test('an endpoint speaks about its own leases alone', async () => {
  const made = diskOf(await laptop.launch(nora, 'lab'))
  const held = laptop.agent.leases.hold({
    ...made.lease,
    askedAt: laptop.agent.steadyMs(),
    key: randomBytes(32),
  })
  await until(async () => (await stateOf(made.lease.id)) === 'held', 'its endpoint holds it')
  // The other one claims it, with counts, and gives it back in the name of the first.
  const stolen = other.agent.leases.hold({
    ...made.lease,
    askedAt: other.agent.steadyMs(),
    key: randomBytes(32),
  })
  stolen.measure(() => ({ bytesFetched: 1, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 666 }))
  stolen.end({ code: 'FORGED', reason: 'forged' })
  // The site has read it when it no longer lists the lease to the forger.
  await until(() => {
    const report = other.agent.leases.reportNow()
    return report.kind === 'report' && report.leases.length === 0
  }, 'the forged report was answered')
  const [row] = await database.rows('select state, stats from leases where id = $1', [made.lease.id])
  expect(row).toMatchObject({ state: 'held', stats: { bytesWritten: 0 } })
  // Who says to hold it has the key, and gets no second one.
  const refused = { code: 'AGENT_SITE_REFUSED', siteCode: 'NOT_FOUND' }
  await expect(laptop.agent.askForKey(made.lease)).rejects.toMatchObject(refused)
  held.end()
  await until(async () => (await stateOf(made.lease.id)) === 'ended', 'its own endpoint gave it back')
  await expect(laptop.agent.askForKey(made.lease)).rejects.toMatchObject(refused)
})

test('a machine that is put back to what it was under a lease that was withdrawn opens nothing', async () => {
  const machine = await enrolEndpoint(site, ada, 'laptop-3')
  const made = diskOf(await machine.launch(nora, 'lab'))
  const mine = { leaseId: made.lease.id, endpointId: machine.agent.id }
  const offer = { ...made.lease, askedAt: machine.agent.steadyMs() }
  const sealed = await machine.agent.askForKey(made.lease)
  const key = await unsealImageKey(machine.agent.sealKeys, sealed, mine)
  const held = machine.agent.leases.hold({ ...offer, key })
  await until(async () => (await stateOf(made.lease.id)) === 'held', 'it is held')
  const copied = `${machine.dir}-copied`
  await cp(machine.dir, copied, { recursive: true })
  undo.defer(() => rm(copied, { recursive: true, force: true }))
  await ada.send('POST', `/leases/${made.lease.id}/withdraw`, { reason: 'lost' }, z.unknown())
  await until(() => held.signal.aborted, 'it is taken')
  held.end()
  await until(async () => (await stateOf(made.lease.id)) === 'ended', 'it was given back')
  await machine[Symbol.asyncDispose]()

  await using again = await startEndpointAgent({ dir: copied, version: 'test', log: silent })
  const refused = { code: 'AGENT_SITE_REFUSED', siteCode: 'NOT_FOUND' }
  await expect(again.askForKey(made.lease)).rejects.toMatchObject(refused)
  // Who says to hold it still is told that it does not, and what had it counts as gone.
  const claimed = again.leases.hold({ ...offer, key: Buffer.from(release.key) })
  await until(() => claimed.signal.aborted, 'it is told')
  expect(claimed.signal.reason).toMatchObject({ code: 'LEASE_WITHDRAWN' })
  expect(await stateOf(made.lease.id)).toBe('ended')
  // The key was in memory only.
  const files = (await readdir(copied, { recursive: true, withFileTypes: true })).filter((one) =>
    one.isFile(),
  )
  expect(files.map(({ name }) => name)).toContain('seal-key')
  const bytes = await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name))))
  expect(readable(Buffer.concat(bytes), [secret('the image key', release.key)])).toEqual([])
})

test('for every key that ever went out there is a lease that says to whom, where and until when', async () => {
  await laptop.agent.askForKey(diskOf(await laptop.launch(nora, 'lab')).lease)
  const [rows, entries] = [
    await database.rows('select * from leases'),
    await database.rows('select entry from audit_entries order by index'),
  ]
  const released = entries
    .map(({ entry }) => decodeEntry(entry as Buffer))
    .filter(({ kind }) => kind === 'key-released')
  expect(released.length).toBeGreaterThan(0)
  for (const { subject, data, actor } of released) {
    const lease = rows.find(({ id }) => id === subject)
    expect(lease).toMatchObject({
      endpoint_id: (data as { endpoint: string }).endpoint,
      person_id: actor.id,
      expires_at: expect.any(Date),
      key_released_at: expect.any(Date),
    })
  }
  const { endpoints } = await ada.get('/endpoints', endpointsAnswer)
  const shown = endpoints.flatMap(({ leases }) => leases.map(({ id }) => id))
  expect(shown.toSorted()).toEqual(
    rows
      .filter(({ state }) => state !== 'ended')
      .map(({ id }) => String(id))
      .toSorted(),
  )
})

test('an endpoint has no more leases open than it can be told of in one message', async () => {
  const { lease, session } = diskOf(await laptop.launch(nora, 'lab'))
  const held = laptop.agent.leases.hold({
    ...lease,
    askedAt: laptop.agent.steadyMs(),
    key: randomBytes(32),
  })
  await until(async () => (await stateOf(lease.id)) === 'held', 'it is held')
  const copies = `select gen_random_uuid() as session_id, gen_random_uuid() as id from generate_series(1, ${maxOpenLeases})`
  const [given] = await database.rows(
    `select string_agg(quote_ident(column_name), ', ') as columns from information_schema.columns
     where table_name = 'leases' and is_generated = 'NEVER'`,
  )
  const columns = String(given?.['columns'])
  await database.rows(
    `with copies as materialized (${copies}), made as (
       insert into sessions select (jsonb_populate_record(s, jsonb_build_object('id', c.session_id, 'state', 'ended'))).*
       from sessions s, copies c where s.id = $1 returning id)
     insert into leases (${columns}) select ${columns} from (
       select (jsonb_populate_record(l, jsonb_build_object('id', c.id, 'session_id', c.session_id))).*
       from leases l, copies c where l.id = $2 and exists (select from made)) copied`,
    [session.id, lease.id],
  )
  const refused = { code: 'LAUNCH_NO_ROOM', remedy: expect.any(String) }
  const more = diskWorkspace('office', { id: 'more', modes: ['streamed-disk'] })
  await ada.send('PUT', '/admin/workspaces/more', more, z.unknown())
  await expect(laptop.launch(nora, 'more')).rejects.toMatchObject(refused)
  // All of them reach it, and what is withdrawn as well.
  await nora.send('DELETE', `/sessions/${session.id}`, undefined, z.unknown())
  await until(() => held.signal.aborted, 'it is told')
})

test('a copied identity is worth nothing once its endpoint is revoked', async () => {
  const copied = await readEndpointCredentials(other.dir)
  await ada.send('POST', `/admin/agents/${other.agent.id}/revoke`, undefined, z.unknown())
  const answer = await launchBy(nora.credentials, { endpointProof: (proof) => by(copied, { proof }) })
  expect(refusalIn(answer)).toMatchObject({
    code: 'ENDPOINT_REFUSED',
    message: expect.stringContaining('revoked'),
  })
})

interface Attempt {
  readonly evidence?: readonly object[]
  readonly headers?: Readonly<Record<string, string>>
  readonly nonce?: string
  /** Of the person; a fresh one when absent. */
  readonly proof?: string | undefined
  readonly endpointProof?: (proof: string) => string
}

async function launchBy({ cookie, keyPair }: Credentials, attempt: Attempt): Promise<RawAnswer> {
  const { clientKey } = await newKey()
  const { evidence, nonce = randomBytes(32).toString('base64url') } = attempt
  const body = Buffer.from(JSON.stringify({ workspaceId: 'lab', clientKey, nonce, evidence }))
  const request = {
    method: 'POST',
    path: launches,
    body,
    keyPair,
    nowMs: Date.now(),
    random: randomBytes(16),
  }
  const proof = attempt.proof ?? (await makeProof(request))
  const word = attempt.endpointProof?.(proof)
  const headers = {
    cookie,
    [proofHeader]: proof,
    ...(word === undefined ? {} : { [endpointProofHeader]: word }),
    ...attempt.headers,
  }
  return send(site, { method: 'POST', path: launches, body, headers })
}

function by(
  { id, siteId, key }: EndpointCredentials,
  change: Partial<Parameters<typeof makeEndpointProof>[0]> & { readonly proof: string },
): string {
  return makeEndpointProof({ endpointId: id, siteId, key, nowMs: Date.now(), ...change })
}

/** Trusts the site, and proves nothing of itself. */
async function askWithoutCertificate({ id, keyTicket }: OfferedKey): Promise<unknown> {
  const { agentUrl, rootPem, siteId } = await readIdentity(laptop.dir, 'endpoint')
  const url = new URL(`/leases/${id}/key`, agentUrl)
  return postJson(url, { keyTicket }, z.unknown(), clientTls(rootPem, { siteId, role: 'site' }))
}

async function keysReleased(): Promise<number> {
  return (await database.rows('select id from leases where key_released_at is not null')).length
}

async function stateOf(lease: string): Promise<unknown> {
  return (await database.rows('select state from leases where id = $1', [lease]))[0]?.['state']
}

function bytesOf(value: unknown): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value) ?? '')
}
