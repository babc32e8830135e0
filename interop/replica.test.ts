import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { openReplicaDirectory } from '#adapters/replica-directory/index.ts'
import { openStore } from '#adapters/store-postgres/index.ts'
import { launchHere } from '#apps/cli/launch-here.ts'
import { diskRecord } from '#apps/endpoint/disk/record-schema.ts'
import { readEndpointCredentials, startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { tidyReplicas } from '#apps/site/data/replicas.ts'
import { disposable } from '#apps/site/open-site.ts'
import { personView } from '#core/api/admin.ts'
import { dataAnswer, timelineAnswer } from '#core/api/data.ts'
import { decodeManifest } from '#core/replica/index.ts'
import { diskOf, type EnrolledEndpoint, enrolEndpoint } from './enrolled-endpoint.rig.ts'
import {
  accessTo,
  filesIn,
  launchedAt,
  overlayPolicy,
  type ReplicatedDisk,
  replicaFiles,
  startReplicatingSite,
  useReplicatedDisk,
} from './replicated-disk.rig.ts'
import { passwordOf, type RunningSite, type SignedInClient, until } from './running-site.rig.ts'
import type { SiteDatabase } from './site-database.rig.ts'

/** What is written on an endpoint, on its way to a real site and onto another endpoint. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 })

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let undo: AsyncDisposableStack
const MiB = 1 << 20
const program = join(import.meta.dirname, '..', 'trustcast')
const secret = 'WRITTEN-ON-AN-ENDPOINT-AND-NOWHERE-READABLE'

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  ;({ site, database, ada } = undo.use(await startReplicatingSite()))
})
afterAll(() => undo.disposeAsync())

test('what was written on a device that is lost is read on another one', async () => {
  const nora = await site.signIn('nora')
  const lost = await enrolEndpoint(site, ada, 'laptop-1')
  const first = await disk(lost, nora)
  await first.write(2 * MiB, secret)
  await first.write(20 * MiB, 'far away')
  await first.sent()
  expect((await replicaFiles(site.state)).pieces).toBe(2)

  await first.write(2 * MiB + 65_536, 'a little more')
  await first.sent()
  expect((await replicaFiles(site.state)).pieces).toBe(3)
  expect(await plaintext(join(site.state, 'replicas'))).toEqual([])

  await ada.send('POST', `/admin/agents/${lost.agent.id}/revoke`, undefined, z.unknown())
  await first.end
  await lost[Symbol.asyncDispose]()

  await using spare = await enrolEndpoint(site, ada, 'laptop-2')
  const second = await disk(spare, nora)
  expect(second.said).toEqual([expect.stringContaining('Fetching what was written elsewhere')])
  expect(await second.read(2 * MiB, secret.length)).toBe(secret)
  expect(await second.read(2 * MiB + 65_536, 13)).toBe('a little more')
  expect(await second.read(20 * MiB, 8)).toBe('far away')
  expect(await second.read(8 * MiB, 4)).toBe('\0\0\0\0')
  await second.write(9 * MiB, 'on the second one')
  expect(await second.finish()).toMatchObject({ code: 'LEASE_ENDED' })
  expect(second.said.at(-1)).toContain('Sending what was written')
  expect(await sequence()).toBeGreaterThan(2)
})

test('a few blocks that change are a few kilobytes that are sent, also after a restart', async () => {
  const nora = await site.signIn('nora')
  await using laptop = await enrolEndpoint(site, ada, 'laptop-3')
  const first = await disk(laptop, nora)
  for (let at = 10; at < 14; at++) await first.write(at * MiB, randomText(MiB / 2))
  await first.sent()
  const large = await replicaFiles(site.state)
  await first.write(10 * MiB, 'changed')
  await first.finish()
  const small = await replicaFiles(site.state)
  expect(small.pieces - large.pieces).toBe(1)
  expect(small.bytes - large.bytes).toBeLessThan(300_000)

  const again = await disk(laptop, nora)
  expect(again.said).toEqual([])
  // The same once more, and what the last state has elsewhere.
  await again.write(10 * MiB, 'changed')
  await again.finish()
  expect((await replicaFiles(site.state)).pieces).toBe(small.pieces)
})

test('whoever comes back to a device goes on with what was written elsewhere; what was never sent is put aside', async () => {
  const nora = await site.signIn('nora')
  await using one = await enrolEndpoint(site, ada, 'laptop-4')
  await using two = await enrolEndpoint(site, ada, 'laptop-5')
  const first = await disk(one, nora)
  await first.write(15 * MiB, 'from the first')
  await first.finish()
  const second = await disk(two, nora)
  expect(await second.read(15 * MiB, 14)).toBe('from the first')
  await second.write(15 * MiB, 'from the second')
  await second.finish()
  const third = await disk(one, nora)
  expect(third.said).toEqual([expect.stringContaining('Fetching')])
  expect(await third.read(15 * MiB, 15)).toBe('from the second')
  await third.sent()

  // Without the site nothing is sent, and another device goes on.
  const [pid = 0] = await site.pidsOf('site')
  await third.write(15 * MiB, 'never sent')
  process.kill(pid, 'SIGSTOP')
  await third.write(16 * MiB, 'never sent')
  await one.agent.leases.close()
  expect(await third.end).toMatchObject({ code: 'LEASE_ENDED' })
  process.kill(pid, 'SIGCONT')
  const fourth = await disk(two, nora)
  await fourth.write(17 * MiB, 'again from the second')
  await fourth.finish()
  await using oneAgain = await startedAgain(one)
  const fifth = await disk(oneAgain, nora)
  expect(fifth.said).toEqual([
    expect.stringContaining('Fetching'),
    expect.stringContaining('is kept as the snapshot before-replica-'),
  ])
  expect(await fifth.read(17 * MiB, 21)).toBe('again from the second')
  expect(await fifth.read(16 * MiB, 4)).toBe('\0\0\0\0')
  await fifth.finish()
})

test('whoever ends the command line by Ctrl-C has the rest sent first', async () => {
  await using laptop = await enrolEndpoint(site, ada, 'laptop-12')
  const env = await commandLineOf(laptop, 'nora')
  const child = spawn(program, ['disk', 'attach', 'office', '--json'], { env })
  undo.defer(() => void child.kill('SIGKILL'))
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  const before = await sequence()
  await accessTo(env.TRUSTCAST_RUN, diskRecord.parse(JSON.parse(line))).write(6 * MiB, 'by hand')
  child.kill('SIGINT')
  await once(child, 'close')
  expect(await sequence()).toBe(before + 1)
})

test('an endpoint that is killed at any moment goes on with all that it has', async () => {
  await using laptop = await enrolEndpoint(site, ada, 'laptop-6')
  for (let round = 0; round < 5; round++) {
    const { child, access, said } = await endpointProcess(laptop)
    // What it sent without hearing of it is its own.
    expect(said.filter((sentence) => !sentence.startsWith('Fetching'))).toEqual([])
    if (round > 0)
      expect(await access.read(24 * MiB, 9)).toBe(`round ${round - 1}  `.slice(0, 9).replace('  ', '\0\0'))
    await access.write(24 * MiB, `round ${round}`)
    await access.write(25 * MiB, randomText(300_000))
    await new Promise((resolve) => setTimeout(resolve, round * 17))
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  // Whatever was committed last opens as a whole.
  await using spare = await enrolEndpoint(site, ada, 'laptop-7')
  await endSessions('nora')
  const nora = await site.signIn('nora')
  const there = await disk(spare, nora)
  expect(await there.read(24 * MiB, 6)).toBe('round ')
  await there.finish()
})

test('a site that is killed while it is sent to has its last state, and then the next one', async () => {
  const nora = await site.signIn('nora')
  await using laptop = await enrolEndpoint(site, ada, 'laptop-8')
  const first = await disk(laptop, nora)
  for (let round = 0; round < 3; round++) {
    await first.write(5 * MiB, `before the crash ${round}`)
    await first.write(27 * MiB, randomText(2 * MiB))
    await new Promise((resolve) => setTimeout(resolve, 150 + 40 * round))
    const [pid = 0] = await site.pidsOf('site')
    process.kill(pid, 'SIGKILL')
    await until(async () => {
      const [next] = await site.pidsOf('site')
      return next !== undefined && next !== pid
    }, 'it runs again')
    await until(() => laptop.agent.isConnected, 'it is heard of again', 60_000)
    await first.sent()
  }
  expect(first.said.filter((sentence) => !/REPLICA_UNREACHABLE|Fetching/.test(sentence))).toEqual([])
  await first.finish()
  await using spare = await enrolEndpoint(site, ada, 'laptop-9')
  const second = await disk(spare, nora)
  expect(await second.read(5 * MiB, 18)).toBe('before the crash 2')
  await second.finish()
})

test('what no state names any more is collected, and what one names is not', async () => {
  const [row] = await database.rows('select id, manifest from replicas')
  const folder = join(site.state, 'replicas')
  const replicas = openReplicaDirectory(folder)
  const { names } = decodeManifest(
    await readFile(join(folder, String(row?.['id']), 'manifests', String(row?.['manifest']))),
  )
  const before = await replicaFiles(site.state)
  expect(before.pieces).toBeGreaterThan(names.size)
  await replicas.putPiece(randomUUID(), 'ab'.repeat(32), randomBytes(10))
  const address = {
    host: join(site.state, 'postgres-run'),
    port: 5432,
    user: 'trustcast',
    database: 'trustcast',
  }
  await using store = disposable(openStore(address, 2))
  await tidyReplicas({ store, replicas, now: Date.now })
  expect(await replicaFiles(site.state)).toMatchObject({ pieces: before.pieces + 1 })
  await tidyReplicas({ store, replicas, now: () => Date.now() + 2 * 60 * 60_000 })
  const after = await replicaFiles(site.state)
  expect(after.pieces).toBe(names.size)
  const [stored] = await database.rows('select stored, bytes from replicas')
  expect([Number(stored?.['stored']), Number(stored?.['bytes'])]).toEqual([after.bytes, after.bytes])
  await using spare = await enrolEndpoint(site, ada, 'laptop-11')
  const whole = await disk(spare, await site.signIn('nora'))
  expect(await whole.read(5 * MiB, 18)).toBe('before the crash 2')
  await whole.finish()
})

test('a replica is shown as a copy, with its entries in the log, and gone when an admin removes it', async () => {
  const { copies, summary } = await ada.get('/data', dataAnswer)
  const copy = copies.find(({ state }) => state === 'replicated')
  expect(copy).toMatchObject({
    place: 'datacenter',
    machine: { kind: 'site' },
    person: { login: 'nora' },
    workspace: { id: 'lab' },
    image: { name: 'office', version: '1' },
    protection: ['replica-sealed'],
    replica: { endpoint: { name: 'laptop-8' } },
  })
  expect(copy?.replica?.sizeBytes).toBeGreaterThan(1000)
  expect(summary.outside).toBe(copies.filter(({ place }) => place === 'endpoint').length)
  const kinds = async (query: string): Promise<readonly string[]> =>
    (await ada.get(`/timeline?${query}&limit=200`, timelineAnswer)).entries.map(({ kind }) => kind)
  expect(await kinds('endpoint=laptop-2')).toEqual(expect.arrayContaining(['replica-kept', 'replica-read']))
  expect(await kinds('workspace=lab')).toContain('replica-kept')

  const path = `/replicas/${copy?.id}/remove`
  const olaf = await site.signIn('olaf')
  const reason = { reason: 'She has left' }
  await expect(olaf.send('POST', path, reason, z.unknown())).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await ada.send('POST', path, reason, z.unknown())
  await expect(ada.send('POST', path, reason, z.unknown())).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect((await ada.get('/data', dataAnswer)).copies.filter(({ state }) => state === 'replicated')).toEqual(
    [],
  )
  expect(await replicaFiles(site.state)).toEqual({ pieces: 0, bytes: 0 })
  expect(await kinds('person=nora')).toContain('replica-removed')
})

test('nothing more is sent once the policy only keeps, and nothing at all under one that always did', async () => {
  const nora = await site.signIn('nora')
  await using laptop = await enrolEndpoint(site, ada, 'laptop-10')
  const first = await disk(laptop, nora)
  await first.write(3 * MiB, 'sent')
  await first.sent()
  const before = await replicaFiles(site.state)
  await ada.send('PUT', '/admin/policy', { text: overlayPolicy('keep') }, z.unknown())
  await until(
    async () =>
      (await database.rows(`select overlay from leases where id = $1`, [first.leaseId]))[0]?.['overlay'] ===
      'keep',
    'the lease follows the policy',
  )
  await first.write(4 * MiB, 'kept here')
  await first.finish()
  expect(await replicaFiles(site.state)).toEqual(before)
  const second = await disk(laptop, nora)
  expect(await second.stats()).toBeUndefined()
  expect(await second.read(4 * MiB, 9)).toBe('kept here')
  await second.finish()
  await ada.send('PUT', '/admin/policy', { text: overlayPolicy('replicate') }, z.unknown())
})

test('what is kept on a device cannot be read while its lease is withdrawn, and the next permitted launch has it', async () => {
  const nora = await site.signIn('nora')
  await using laptop = await enrolEndpoint(site, ada, 'laptop-14')
  await ada.send('PUT', '/admin/policy', { text: overlayPolicy('keep') }, z.unknown())
  try {
    const first = await disk(laptop, nora)
    await first.write(3 * MiB, secret)
    await setGroups('nora', ['contractors'])
    expect(await first.end).toMatchObject({ code: 'LEASE_WITHDRAWN' })
    await expect(first.read(3 * MiB, secret.length)).rejects.toThrow()
    expect(await filesIn(join(laptop.dir, 'overlays'))).not.toEqual([])
    expect(await plaintext(laptop.dir)).toEqual([])
    await setGroups('nora', ['employees'])
    const second = await disk(laptop, nora)
    expect(await second.read(3 * MiB, secret.length)).toBe(secret)
    await second.finish()
  } finally {
    await setGroups('nora', ['employees'])
    await ada.send('PUT', '/admin/policy', { text: overlayPolicy('replicate') }, z.unknown())
  }
})

test('whoever loses trust at the command line is told that reads end, and where to go on', async () => {
  await using laptop = await enrolEndpoint(site, ada, 'laptop-13')
  const env = await commandLineOf(laptop, 'nora')
  const child = spawn(program, ['disk', 'attach', 'office'], { env })
  undo.defer(() => void child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (text) => (said += String(text)))
  const ended = once(child, 'close')
  await until(() => said.includes('Ctrl-C detaches it.'), 'the disk is attached')
  await setGroups('nora', ['contractors'])
  try {
    await ended
    expect(said).toMatch(/^Ended: ./m)
    expect(said).toContain('Go on in the data centre (hosted-shared): trustcast launch lab\n')
  } finally {
    await setGroups('nora', ['employees'])
  }
})

async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  const { people } = await ada.get('/admin/people', z.object({ people: z.array(personView) }))
  const person = people.find((one) => one.login === login)
  await ada.send('PATCH', `/admin/people/${person?.id}`, { groups }, z.unknown())
}

async function disk(endpoint: EnrolledEndpoint, client: SignedInClient): Promise<ReplicatedDisk> {
  const launched = await launchedAt(endpoint, client, 'lab')
  return useReplicatedDisk({
    site: site.address,
    agent: endpoint.agent,
    dir: endpoint.dir,
    runDir: join(endpoint.dir, 'run'),
    launched: { ...launched, delivery: diskOf(launched) },
  })
}

async function sequence(): Promise<number> {
  const [row] = await database.rows('select sequence from replicas')
  return Number(row?.['sequence'] ?? 0)
}

/** The machine, with an agent once more: the one before gave everything back. */
async function startedAgain(endpoint: EnrolledEndpoint): Promise<EnrolledEndpoint> {
  const log = { info: () => undefined, warn: () => undefined }
  const agent = await startEndpointAgent({ dir: endpoint.dir, version: 'test', log })
  await agent.untilConnected(20_000)
  return {
    ...endpoint,
    agent,
    launch: async (client, workspaceId) => {
      const credentials = { ...client.credentials, endpoint: await readEndpointCredentials(endpoint.dir) }
      return launchHere({ site: site.address, credentials }, agent, workspaceId)
    },
    [Symbol.asyncDispose]: () => agent[Symbol.asyncDispose](),
  }
}

/** What the command line needs on that machine, signed in. */
async function commandLineOf({ dir }: EnrolledEndpoint, user: string) {
  const env = {
    ...process.env,
    TRUSTCAST_ENDPOINT: dir,
    TRUSTCAST_LOGIN: join(dir, 'login.json'),
    TRUSTCAST_RUN: join(dir, 'run'),
  }
  const authority = join(site.state, 'pki/root.pem')
  const login = spawn(program, ['login', site.url, '--user', user, '--ca', authority], { env })
  login.stdin.end(`${passwordOf(user)}\n`)
  expect(await once(login, 'close')).toEqual([0, null])
  return env
}

async function endpointProcess({ dir }: EnrolledEndpoint) {
  const rig = join(import.meta.dirname, 'replicating-endpoint.rig.ts')
  const words = [rig, site.url, join(site.state, 'pki/root.pem'), dir, 'nora']
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  undo.defer(() => void child.kill('SIGKILL'))
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  const { runDir, record, said } = z
    .object({ runDir: z.string(), record: diskRecord, said: z.array(z.string()) })
    .parse(JSON.parse(line))
  return { child, said, access: accessTo(runDir, record) }
}

async function endSessions(login: string): Promise<void> {
  const client = await site.signIn(login)
  const { sessions } = await client.get(
    '/sessions',
    z.looseObject({ sessions: z.array(z.looseObject({ id: z.string() })) }),
  )
  for (const { id } of sessions) await client.send('DELETE', `/sessions/${id}`, undefined, z.unknown())
}

/** Does not compress. */
function randomText(length: number): string {
  return randomBytes(length).toString('latin1')
}

/** Files in which what was written can be read. */
async function plaintext(dir: string): Promise<readonly string[]> {
  const found: string[] = []
  for (const file of await filesIn(dir)) if ((await readFile(file)).includes(secret)) found.push(file)
  return found
}
