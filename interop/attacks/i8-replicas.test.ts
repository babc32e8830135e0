import { randomBytes, randomUUID } from 'node:crypto'
import { copyFile, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { readIdentity } from '#apps/agent-client/index.ts'
import { replicaClient } from '#apps/endpoint/replica/replica-client.ts'
import { deletionView, personView } from '#core/api/admin.ts'
import { dataAnswer } from '#core/api/data.ts'
import { overlayKeyOf } from '#core/artifact/image-key.ts'
import { pieceCount } from '#core/block/capturable.ts'
import {
  decodeManifest,
  emptyTable,
  encodeManifest,
  longestSealedBytes,
  ReplicaKeys,
  type ReplicaManifest,
} from '#core/replica/index.ts'
import {
  diskOf,
  type EndpointLaunch,
  type EnrolledEndpoint,
  enrolEndpoint,
} from '../enrolled-endpoint.rig.ts'
import { diskWorkspace, type PublishedForTest } from '../published-release.rig.ts'
import {
  filesIn,
  launchedAt,
  type ReplicatedDisk,
  startReplicatingSite,
  useReplicatedDisk,
} from '../replicated-disk.rig.ts'
import { type RunningSite, type SignedInClient, signIn, until } from '../running-site.rig.ts'
import { openDatabase, type SiteDatabase } from '../site-database.rig.ts'

/**
 * I8, of what leaves endpoints for the data centre: only the endpoint that holds a lease uses the replica of its person,
 * and whatever a site, or who has its folder, does to one is found.
 */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 })

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let nora: SignedInClient
let release: PublishedForTest
let laptop: EnrolledEndpoint
let other: EnrolledEndpoint
let undo: AsyncDisposableStack
const MiB = 1 << 20
const never = new AbortController().signal
const noLease = { code: 'REPLICA_REFUSED', message: expect.stringContaining('NOT_FOUND') as string }

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  ;({ site, database, ada, release } = undo.use(await startReplicatingSite()))
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop-1'))
  other = undo.use(await enrolEndpoint(site, ada, 'laptop-2'))
  nora = await site.signIn('nora')
})
afterAll(() => undo.disposeAsync())

/** Each begins without a replica, and with nothing on the endpoints. */
beforeEach(async () => {
  const { copies } = await ada.get('/data', dataAnswer)
  for (const { id, state } of copies)
    if (state === 'replicated')
      await ada.send('POST', `/replicas/${id}/remove`, { reason: 'test' }, z.unknown())
  for (const { dir } of [laptop, other]) await rm(join(dir, 'overlays'), { recursive: true, force: true })
})

test('to whoever does not hold it a lease does not exist, whatever they ask', async () => {
  const disk = await use(laptop)
  await disk.write(2 * MiB, 'mine')
  await disk.sent()
  const name = [...(await manifestNow()).names.values()][0]!
  for (const [leaseId, dir] of [
    [disk.leaseId, other.dir],
    [randomUUID(), laptop.dir],
  ] as const) {
    using client = replicaClient(dir, leaseId)
    for (const call of [
      () => client.manifest(never),
      () => client.piece(name, never),
      () => client.putPiece(name, randomBytes(10), never),
      () => client.putManifest(randomBytes(200), 1, never),
    ])
      await expect(call()).rejects.toMatchObject(noLease)
  }
  await disk.finish()
})

test('the replica of one person is no other person’s, also on the same endpoint and for the same image', async () => {
  const disk = await use(laptop)
  await disk.write(2 * MiB, 'of nora')
  await disk.finish()
  const name = [...(await manifestNow()).names.values()][0]!
  const theirs = await use(laptop, await asEmployee('carl'))
  using client = replicaClient(laptop.dir, theirs.leaseId)
  expect(await client.manifest(never)).toBeUndefined()
  await expect(client.piece(name, never)).rejects.toMatchObject({
    code: expect.stringMatching(/REFUSED|INCOMPLETE/),
  })
  expect(await theirs.read(2 * MiB, 7)).not.toBe('of nora')
  await theirs.finish()
})

test('after its lease was withdrawn, or has ended, an endpoint sends and reads nothing', async () => {
  const disk = await use(laptop)
  await disk.write(2 * MiB, 'before')
  await disk.sent()
  using client = replicaClient(laptop.dir, disk.leaseId)
  expect(await client.manifest(never)).toBeDefined()
  await ada.send('POST', `/leases/${disk.leaseId}/withdraw`, { reason: 'lost' }, z.unknown())
  await expect(client.manifest(never)).rejects.toMatchObject(noLease)
  await expect(client.putPiece('ab'.repeat(32), randomBytes(10), never)).rejects.toMatchObject(noLease)
  expect(await disk.end).toMatchObject({ code: 'LEASE_WITHDRAWN' })

  const next = await use(laptop)
  using ended = replicaClient(laptop.dir, next.leaseId)
  await next.finish()
  await until(
    async () =>
      (await database.rows('select state from leases where id = $1', [next.leaseId]))[0]?.['state'] ===
      'ended',
    'the lease has ended',
  )
  await expect(ended.manifest(never)).rejects.toMatchObject(noLease)
})

test('a revoked endpoint, a host and a stranger are turned away', async () => {
  await using stolen = await enrolEndpoint(site, ada, `stolen-${randomUUID().slice(0, 8)}`)
  const disk = await use(stolen)
  using client = replicaClient(stolen.dir, disk.leaseId)
  expect(await client.manifest(never)).toBeUndefined()
  await ada.send('POST', `/admin/agents/${stolen.agent.id}/revoke`, undefined, z.unknown())
  await expect(client.manifest(never)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' })
  await disk.end
  const hostDir = join(site.state, 'host-1')
  await expect(rawly(hostDir, 'host', disk.leaseId, 'GET', 'manifest')).resolves.toMatchObject({
    status: 404,
  })
})

test('only who holds the image’s key can commit, and only what follows, with every piece', async () => {
  const made = await laptop.launch(nora, 'lab')
  const { id } = diskOf(made).lease
  const held = await holdBare(made)
  using client = replicaClient(laptop.dir, id)
  const base = `office:1 ${'ab'.repeat(32)}`
  const personId = diskOf(made).session.person.id
  const table = emptyTable(pieceCount(8192))
  const manifest = (change: Partial<ReplicaManifest> = {}, key: Uint8Array = release.key, of = {}) =>
    encodeManifest(new ReplicaKeys(overlayKeyOf(key), { personId, scope: '', base, ...of }), {
      base,
      blocks: 8192,
      sequence: 1,
      writtenAt: 0,
      ...table,
      ...change,
    })
  const malformed = { code: 'REPLICA_MALFORMED' }
  const flipped = Uint8Array.from(manifest())
  flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1
  for (const bad of [
    randomBytes(300),
    new Uint8Array(0),
    flipped,
    manifest({}, randomBytes(32)),
    manifest({}, release.key, { personId: randomUUID() }),
    manifest({}, release.key, { scope: 'desk' }),
    manifest({ base: `office:2 ${'ab'.repeat(32)}` }, release.key, { base: `office:2 ${'ab'.repeat(32)}` }),
  ])
    await expect(client.putManifest(bad, 0, never)).rejects.toMatchObject(malformed)
  const names = new Map([[3, 'cd'.repeat(32)]])
  await expect(client.putManifest(manifest({ names }), 0, never)).rejects.toMatchObject({
    code: 'REPLICA_INCOMPLETE',
  })
  await expect(client.putManifest(manifest({ sequence: 5 }), 4, never)).rejects.toMatchObject({
    code: 'REPLICA_CONFLICT',
  })
  expect(await client.manifest(never)).toBeUndefined()

  // Of many who go on from one state at once, one does.
  const all = await Promise.allSettled(
    Array.from({ length: 8 }, (_, at) => client.putManifest(manifest({ writtenAt: at }), 0, never)),
  )
  expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const one of all)
    if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'REPLICA_CONFLICT' })
  await expect(client.putManifest(manifest(), 1, never)).rejects.toMatchObject({ code: 'REPLICA_CONFLICT' })
  held.end()
})

test('bodies that are too large, and paths that lead elsewhere, are refused', async () => {
  const made = await laptop.launch(nora, 'lab')
  const { id } = diskOf(made).lease
  const held = await holdBare(made)
  const put = (path: string, body: Uint8Array, chunked = false) =>
    rawly(laptop.dir, 'endpoint', id, 'PUT', path, body, chunked)
  const large = randomBytes(longestSealedBytes + 1)
  for (const chunked of [false, true])
    expect(await put(`pieces/${'ab'.repeat(32)}`, large, chunked)).toMatchObject({ status: 413 })
  expect(await put('manifest?previous=0', new Uint8Array(17 * MiB))).toMatchObject({ status: 413 })
  for (const path of [
    'pieces/../../x',
    `pieces/${'AB'.repeat(32)}`,
    'manifest?previous=-1',
    'manifest?previous=x',
    'other',
  ])
    expect((await put(path, randomBytes(3))).status, path).toBe(404)
  expect((await put('manifest', randomBytes(3))).status).toBe(400)
  expect(await filesIn(join(site.state, 'replicas'))).toEqual([])
  held.end()
})

test.each(['flipped', 'swapped', 'emptied', 'missing'] as const)(
  'a piece that is %s is found, and what is on the device stays as it was',
  async (how) => {
    const disk = await use(laptop)
    await disk.write(2 * MiB, 'one')
    await disk.write(6 * MiB, 'another')
    await disk.finish()
    const [a = '', b = ''] = (await filesIn(join(site.state, 'replicas'))).filter((file) =>
      file.includes('/pieces/'),
    )
    if (how === 'flipped')
      await writeFile(
        a,
        (await readFile(a)).map((byte, at) => (at === 40 ? byte ^ 1 : byte)),
      )
    if (how === 'swapped') await copyFile(b, a)
    if (how === 'emptied') await writeFile(a, '')
    if (how === 'missing') await unlink(a)
    await expect(use(other)).rejects.toMatchObject({
      code: how === 'missing' ? 'REPLICA_INCOMPLETE' : 'REPLICA_CORRUPT',
      remedy: expect.any(String),
    })
    expect(
      (await filesIn(join(other.dir, 'overlays'))).filter((file) => /\/(data|journal)$/.test(file)),
    ).toEqual([])
    const again = await use(laptop)
    expect(await again.read(6 * MiB, 7)).toBe('another')
    await again.finish()
  },
)

test('a manifest that was altered or is of another time is found', async () => {
  const disk = await use(laptop)
  await disk.write(2 * MiB, 'first')
  await disk.sent()
  const [old] = await database.rows('select manifest, sequence, bytes from replicas')
  await disk.write(2 * MiB, 'second')
  await disk.finish()

  // A site that shows the state before: whoever knows better sends again, whoever knows nothing begins with that.
  const back = 'update replicas set manifest = $1, sequence = $2, bytes = $3'
  await database.rows(back, [old?.['manifest'], old?.['sequence'], old?.['bytes']])
  const again = await use(laptop)
  expect(again.said).toEqual([expect.stringContaining('REPLICA_ROLLED_BACK')])
  expect(await again.read(2 * MiB, 6)).toBe('second')
  await again.sent()
  await again.finish()
  const elsewhere = await use(other)
  expect(await elsewhere.read(2 * MiB, 6)).toBe('second')
  await elsewhere.finish()

  // Without its own, an endpoint that knows better does not begin at all.
  await database.rows(back, [old?.['manifest'], old?.['sequence'], old?.['bytes']])
  const [overlay] = await overlaysOf(laptop)
  await rm(overlay!, { recursive: true })
  await expect(use(laptop)).rejects.toMatchObject({
    code: 'REPLICA_ROLLED_BACK',
    remedy: expect.stringContaining('state.json'),
  })

  const manifests = (await filesIn(join(site.state, 'replicas'))).filter((file) =>
    file.includes('/manifests/'),
  )
  for (const file of manifests) {
    const bytes = await readFile(file)
    bytes[60] = (bytes[60] ?? 0) ^ 1
    await writeFile(file, bytes)
  }
  await rm(join(other.dir, 'overlays'), { recursive: true })
  await expect(use(other)).rejects.toMatchObject({
    code: expect.stringMatching(/REPLICA_(CORRUPT|MALFORMED)/),
  })
})

test('of two endpoints that write one replica at once one goes on, and the other says so and loses nothing', async () => {
  // Two workspaces of one image, so that a person can have both.
  await ada.send('PUT', '/admin/workspaces/lab-2', diskWorkspace('office', { id: 'lab-2' }), z.unknown())
  const first = await use(laptop)
  await first.write(2 * MiB, 'from the first')
  await first.sent()
  const second = await use(other, nora, 'lab-2')
  await second.write(3 * MiB, 'from the second')
  await second.sent()
  await first.write(4 * MiB, 'of the first again')
  await until(async () => (await first.stats())?.stopped !== undefined, 'the first one has stopped')
  expect(first.said).toContainEqual(expect.stringContaining('REPLICA_CONFLICT'))
  expect(await first.read(4 * MiB, 18)).toBe('of the first again')
  await first.finish()
  await second.finish()
  const third = await use(laptop)
  expect(third.said).toContainEqual(expect.stringContaining('before-replica-'))
  expect(await third.read(3 * MiB, 15)).toBe('from the second')
  await third.finish()
})

test('who has the login of somebody who was deleted inherits nothing; what was kept is theirs alone, and what was discarded is gone', async () => {
  const password = 'a-long-password-1'
  const wish = { login: 'dora', name: 'Dora', password, groups: ['employees'] }
  await using own = await enrolEndpoint(site, ada, 'laptop-12')
  const added = async () => {
    const { id } = await ada.send('POST', '/admin/people', wish, personView)
    return { id, client: await signIn(site.address, 'dora', password) }
  }
  const remove = (id: string, data: string, by = ada) =>
    by.send('DELETE', `/admin/people/${id}?data=${data}`, undefined, deletionView)
  const replicas = async () =>
    (await ada.get('/data', dataAnswer)).copies.filter(({ state }) => state === 'replicated')

  const first = await added()
  const disk = await use(own, first.client)
  await disk.write(2 * MiB, 'of the first')
  await disk.sent()
  expect(await ownerOf('laptop-12')).toBe(first.id)
  for (const by of [nora, first.client, await site.signIn('olaf')])
    await expect(remove(first.id, 'discard', by)).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  expect(await remove(first.id, 'keep')).toMatchObject({
    leases: 1,
    replicas: { count: 1 },
    person: { endpoints: 1 },
  })
  expect(await disk.end).toMatchObject({
    code: 'LEASE_WITHDRAWN',
    notice: { code: 'SESSION_PERSON_DELETED' },
  })
  await expect(own.launch(first.client, 'lab')).rejects.toMatchObject({ code: 'NOT_SIGNED_IN' })
  expect(await replicas()).toMatchObject([{ person: { id: first.id, deleted: true } }])
  expect(await ownerOf('laptop-12')).toBeNull()

  const second = await added()
  expect(second.id).not.toBe(first.id)
  const theirs = await use(own, second.client)
  expect(await theirs.read(2 * MiB, 12)).not.toBe('of the first')
  using client = replicaClient(own.dir, theirs.leaseId)
  expect(await client.manifest(never)).toBeUndefined()
  await theirs.write(2 * MiB, 'of the second')
  await theirs.sent()
  const [kept] = await replicas()
  const [gone] = (await replicas()).filter(({ person }) => person.id === second.id)

  // The site is killed in the middle: the person is deleted, and their replica is being removed.
  await using held = await openDatabase(site)
  await held.rows('begin')
  await held.rows('select 1 from replicas where id = $1 for update', [gone?.id])
  await remove(second.id, 'discard')
  const waits = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'select "id" from "replicas"%for update'`
  await until(async () => (await database.rows(waits)).length > 0, 'it is being removed')
  const [pid = 0] = await site.pidsOf('site')
  process.kill(pid, 'SIGKILL')
  await until(async () => (await site.pidsOf('site')).some((one) => one !== pid), 'the site is started again')
  await held.rows('commit')
  const left = () => database.rows('select id from replicas where person_id = $1', [second.id])
  await until(async () => (await left()).length === 0, 'what was to be discarded is gone', 60_000)
  const folders = await readdir(join(site.state, 'replicas'))
  expect([folders.includes(kept?.id ?? ''), folders.includes(gone?.id ?? '')]).toEqual([true, false])
  await expect(signIn(site.address, 'dora', password)).rejects.toMatchObject({ code: 'SIGN_IN_REFUSED' })
  await until(async () => (await overlaysOf(own)).length <= 1, 'what its lease was to discard is discarded')
})

test('nothing that lies at the site tells what was written, nor which two people wrote the same', async () => {
  const text = 'THE SAME SECRET OF BOTH OF THEM'
  const mine = await use(laptop)
  await mine.write(2 * MiB, text)
  await mine.finish()
  const theirs = await use(laptop, await asEmployee('carl'))
  await theirs.write(2 * MiB, text)
  await theirs.finish()
  const files = await filesIn(join(site.state, 'replicas'))
  const pieces = files.filter((file) => file.includes('/pieces/'))
  expect(new Set(pieces.map((file) => file.split('/').at(-1))).size).toBe(2)
  for (const file of files) {
    expect((await readFile(file)).includes(text)).toBe(false)
    expect((await stat(file)).mode & 0o077).toBe(0)
  }
  const logs = await readdir(join(site.state, 'logs'))
  for (const log of logs) expect((await readFile(join(site.state, 'logs', log))).includes(text)).toBe(false)
})

async function ownerOf(name: string): Promise<unknown> {
  return (await database.rows('select owner_id from agents where name = $1', [name]))[0]?.['owner_id']
}

async function use(endpoint: EnrolledEndpoint, client = nora, workspace = 'lab'): Promise<ReplicatedDisk> {
  const launched = await launchedAt(endpoint, client, workspace)
  return useReplicatedDisk({
    site: site.address,
    agent: endpoint.agent,
    dir: endpoint.dir,
    runDir: join(endpoint.dir, 'run'),
    launched: { ...launched, delivery: diskOf(launched) },
  })
}

/** Holds a lease as an agent does, without a disk. */
async function holdBare(made: EndpointLaunch) {
  const { lease } = diskOf(made)
  // Nothing is replicated under a lease whose key never went out.
  await laptop.agent.askForKey(lease)
  return laptop.agent.leases.hold({ ...lease, askedAt: made.askedAt, key: randomBytes(32) })
}

async function asEmployee(login: string): Promise<SignedInClient> {
  const { people } = await ada.get(
    '/admin/people',
    z.looseObject({ people: z.array(z.looseObject({ id: z.string(), login: z.string() })) }),
  )
  const { id } = people.find((one) => one.login === login)!
  await ada.send('PATCH', `/admin/people/${id}`, { groups: ['employees'] }, z.unknown())
  return site.signIn(login)
}

async function manifestNow(): Promise<ReplicaManifest> {
  const [row] = await database.rows('select id, manifest from replicas order by committed_at desc limit 1')
  const path = join(site.state, 'replicas', String(row?.['id']), 'manifests', String(row?.['manifest']))
  return decodeManifest(await readFile(path))
}

async function overlaysOf({ dir }: EnrolledEndpoint): Promise<readonly string[]> {
  const journals = (await filesIn(join(dir, 'overlays'))).filter((file) => file.endsWith('/journal'))
  return journals.filter((file) => !file.includes('/.')).map((file) => join(file, '..'))
}

async function rawly(
  dir: string,
  kind: 'endpoint' | 'host',
  leaseId: string,
  method: string,
  path: string,
  body: Uint8Array = new Uint8Array(0),
  chunked = false,
): Promise<{ readonly status: number }> {
  const identity = await readIdentity(dir, kind)
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly status: number }>()
  // Who asks for the connection to be closed may find it closed before all was sent.
  const agent = new Agent({ keepAlive: true, maxCachedSessions: 0 })
  const outgoing = request(
    {
      ...clientTls(identity.rootPem, { siteId: identity.siteId, role: 'site' }, identity),
      agent,
      host: new URL(identity.agentUrl).hostname,
      port: new URL(identity.agentUrl).port,
      path: `/leases/${leaseId}/replica/${path}`,
      method,
      headers: chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.length },
    },
    (response) => {
      response.resume()
      resolve({ status: response.statusCode ?? 0 })
    },
  )
  outgoing.on('error', reject)
  outgoing.end(body)
  return promise.finally(() => agent.destroy())
}
