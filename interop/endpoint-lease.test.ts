import { createHash, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { personView, tokenAnswer } from '#core/api/admin.ts'
import { endpointsAnswer, type LeaseView } from '#core/api/lease.ts'
import { explainAnswer, sessionView, workspaceView } from '#core/api/person.ts'
import { decodeEntry } from '#core/audit/index.ts'
import { defaultPolicy } from '#core/policy/index.ts'
import {
  diskOf,
  type EndpointLaunch,
  type EnrolledEndpoint,
  enrolEndpoint,
  type LeaseInUse,
  leaseInUse,
} from './enrolled-endpoint.rig.ts'
import { launch } from './hosted-person.rig.ts'
import { diskWorkspace, type PublishedForTest, publishForTest } from './published-release.rig.ts'
import { passwordOf, type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let release: PublishedForTest
let laptop: EnrolledEndpoint
/** What each test is done with is undone. */
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ada = await site.signIn('ada')
  release = await publishForTest(ada, 'office')
  for (const workspace of [
    diskWorkspace('office'),
    diskWorkspace('office', { id: 'lab-only', modes: ['streamed-disk'] }),
    diskWorkspace('nothing', { id: 'unpublished', modes: ['streamed-disk'] }),
  ])
    await ada.send('PUT', `/admin/workspaces/${workspace.id}`, workspace, z.unknown())
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop-1'))
})
afterAll(() => undo.disposeAsync())

test('a disk needs a part that says which, before a workspace may stream', async () => {
  const { disk: _, ...without } = diskWorkspace('office', { id: 'broken' })
  await expect(ada.send('PUT', '/admin/workspaces/broken', without, z.unknown())).rejects.toMatchObject({
    code: 'BAD_REQUEST',
    message: expect.stringContaining('streamed-disk needs `disk`'),
  })
})

test('a release that describes no virtual machine is delivered as none', async () => {
  const workspace = diskWorkspace('office', { id: 'vm-only', modes: ['local-vm'] })
  await ada.send('PUT', '/admin/workspaces/vm-only', workspace, z.unknown())
  const nora = await site.signIn('nora')
  const looked = await ada.get('/explain?workspace=vm-only&user=nora&endpoint=laptop-1', explainAnswer)
  expect(looked.decision.refused).toMatchObject([{ mode: 'local-vm', deliverable: false }])
  // The policy permits no local VM here, so it is none of hers.
  await expect(laptop.launch(nora, 'vm-only')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('the token alone says that a machine becomes an endpoint, and the site lists it', async () => {
  const { token } = await ada.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'endpoint', name: 'desk-9' },
    tokenAnswer,
  )
  const dir = join(site.state, 'desk-9')
  const wrong = await site.cli(['enroll', site.url, '--host', '--token', token, '--state', dir])
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('not for a host') })
  const done = await site.cli(['enroll', site.url, '--token', token, '--state', dir, '--json'])
  expect(done).toMatchObject({ code: 0 })
  const { id } = JSON.parse(done.stdout) as { id: string }
  expect((await stat(join(dir, 'agent.json'))).mode & 0o777).toBe(0o600)
  expect(JSON.parse(await readFile(join(dir, 'agent.json'), 'utf8'))).toMatchObject({
    kind: 'endpoint',
    directorKey: expect.any(String),
    releaseRoot: expect.any(String),
  })
  expect((await endpoints()).find((one) => one.id === id)).toMatchObject({
    name: 'desk-9',
    online: false,
    revoked: false,
    leases: [],
  })
  const again = await site.cli(['enroll', site.url, '--token', token, '--state', `${dir}-2`])
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('TOKEN_REFUSED') })
}, 120_000)

test('what a browser is refused and told, a managed endpoint is given', async () => {
  const nora = await site.signIn('nora')
  const asked = await nora.get('/explain?workspace=lab', explainAnswer)
  expect(asked.decision.outcome?.mode).toBe('hosted-shared')
  expect(asked.decision.refused).toMatchObject([{ mode: 'streamed-disk', deliverable: true }])
  expect(asked.decision.refused[0]?.unlocks[0]?.changes.map(({ claim }) => claim)).toContain(
    'endpoint.management',
  )
  const looked = await ada.get('/explain?workspace=lab&user=nora&endpoint=laptop-1', explainAnswer)
  expect(looked.decision.outcome?.mode).toBe('streamed-disk')
  const none = await ada.get('/explain?workspace=unpublished&user=nora&endpoint=laptop-1', explainAnswer)
  expect(none.decision.refused).toMatchObject([{ code: 'NO_RELEASE', deliverable: false }])
  await expect(laptop.launch(nora, 'unpublished')).rejects.toMatchObject({
    code: 'LAUNCH_REFUSED',
    message: expect.stringContaining('No release of nothing is published') as string,
  })
})

test('the command line on an endpoint speaks for it, and anywhere else it does not', async () => {
  const fingerprint = createHash('sha256')
    .update(new X509Certificate(site.address.ca ?? '').raw)
    .digest('hex')
  const words = ['login', site.url, '--user', 'nora', '--trust', fingerprint]
  const input = `${passwordOf('nora')}\n`
  expect(await site.cli(words, { login: 'nora', input })).toMatchObject({ code: 0 })
  const modeOf = async (): Promise<string | undefined> => {
    const { stdout } = await site.cli(['list', '--json'], { login: 'nora' })
    const { workspaces } = z.object({ workspaces: z.array(workspaceView) }).parse(JSON.parse(stdout))
    return workspaces.find(({ id }) => id === 'lab')?.decision.outcome?.mode
  }
  process.env['TRUSTCAST_ENDPOINT'] = laptop.dir
  const here = await modeOf()
  process.env['TRUSTCAST_ENDPOINT'] = site.state
  const elsewhere = await modeOf()
  delete process.env['TRUSTCAST_ENDPOINT']
  expect([here, elsewhere]).toEqual(['streamed-disk', 'hosted-shared'])
}, 120_000)

test('a launch hands over the key under a lease, in the log first, and both ends know what is held', async () => {
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const delivery = diskOf(made)
  expect(made.decision.outcome).toMatchObject({ mode: 'streamed-disk', place: 'endpoint' })
  expect(delivery).toMatchObject({
    release: { image: 'office', version: '1', manifestDigest: release.manifestDigest },
    application: 'lab',
    session: { endpoint: { id: laptop.agent.id, name: 'laptop-1' } },
  })
  const use = await inUse(laptop, made)
  expect(Buffer.from(use.opened.key)).toEqual(release.key)
  expect(use.opened.direction).toMatchObject({ name: 'office', manifestDigest: release.manifestDigest })
  use.stats.bytesFetched = 4096
  await until(async () => (await leaseOf(delivery.lease.id))?.stats?.bytesFetched === 4096, 'counts arrived')
  expect(await leaseOf(delivery.lease.id)).toMatchObject({
    state: 'held',
    overlay: 'discard',
    person: { login: 'nora' },
    image: 'office',
  })
  expect(await nora.get(`/sessions/${delivery.session.id}`, sessionView)).toMatchObject({
    state: 'ready',
    connected: true,
    mode: 'streamed-disk',
  })

  const log = await entries()
  const released = log.findIndex(
    ({ kind, subject }) => kind === 'key-released' && subject === delivery.lease.id,
  )
  const started = log.findIndex(
    ({ kind, subject }) => kind === 'session-started' && subject === delivery.session.id,
  )
  const decided = log.findIndex(({ data }) => JSON.stringify(data).includes(delivery.session.decisionId))
  expect([decided, started, released].toSorted((a, b) => a - b)).toEqual([decided, started, released])
  expect(decided).toBeGreaterThanOrEqual(0)

  use.finish()
  expect(await use.end).toMatchObject({ code: 'LEASE_ENDED' })
  await until(async () => (await leaseRow(delivery.lease.id))?.['state'] === 'ended', 'the lease has ended')
  expect(Buffer.from(use.opened.key).every((byte) => byte === 0)).toBe(true)
})

test('a change of groups takes the key away, and work goes on in the data centre', async () => {
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const { lease, session } = diskOf(made)
  const use = await inUse(laptop, made)
  await setGroups('nora', ['contractors'])
  const end = await use.end
  expect(end).toMatchObject({
    code: 'LEASE_WITHDRAWN',
    notice: { code: 'TRUST_LOST', stepDown: 'hosted-shared' },
  })
  expect(Buffer.from(use.opened.key).every((byte) => byte === 0)).toBe(true)
  const withdrawn = (await entries()).find(
    ({ kind, subject }) => kind === 'lease-withdrawn' && subject === lease.id,
  )
  expect(withdrawn?.data).toMatchObject({ endpoint: laptop.agent.id, stepDown: 'hosted-shared' })

  const down = await laptop.launch(nora, 'lab')
  expect(down.delivery).toMatchObject({ kind: 'hosted', session: { mode: 'hosted-shared' } })
  await setGroups('nora', ['employees'])
  // What was taken does not come back by itself.
  await until(async () => (await sessionOf(session.id)).state === 'ended', 'the first session has ended')
  await nora.send('DELETE', `/sessions/${down.delivery.session.id}`, undefined, z.unknown())
})

test('while the site is silent the endpoint stops by its own clock, also when its date is set back', async () => {
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const use = await inUse(laptop, made)
  const [pid = 0] = await site.pidsOf('site')
  process.kill(pid, 'SIGSTOP')
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 86_400_000 })
  try {
    laptop.skewMs += 16 * 60_000
    expect(await use.end).toMatchObject({ code: 'LEASE_EXPIRED' })
    expect(Buffer.from(use.opened.key).every((byte) => byte === 0)).toBe(true)
  } finally {
    vi.useRealTimers()
    process.kill(pid, 'SIGCONT')
  }
  const { lease, session } = diskOf(made)
  await until(async () => (await leaseRow(lease.id))?.['state'] === 'ended', 'the site was told')
  await expect.poll(async () => (await sessionOf(session.id)).end).toMatchObject({ code: 'LEASE_EXPIRED' })
})

test('what has ended while the site is silent is given back without it, and told when it is there again', async () => {
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const use = await inUse(laptop, made)
  const [pid = 0] = await site.pidsOf('site')
  process.kill(pid, 'SIGSTOP')
  try {
    use.finish()
    expect(await use.end).toMatchObject({ code: 'LEASE_ENDED' })
    expect(Buffer.from(use.opened.key).every((byte) => byte === 0)).toBe(true)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  const { lease } = diskOf(made)
  await until(async () => (await leaseRow(lease.id))?.['state'] === 'ended', 'the site was told')
})

test('a lease that its endpoint never spoke of ends on the site, too', async () => {
  const nora = await site.signIn('nora')
  const { lease, session } = diskOf(await laptop.launch(nora, 'lab'))
  await database.rows(`update leases set expires_at = now() - interval '1 second' where id = $1`, [lease.id])
  await until(async () => (await leaseRow(lease.id))?.['state'] === 'ended', 'the lease has ended')
  await expect.poll(async () => (await sessionOf(session.id)).end).toMatchObject({ code: 'LEASE_EXPIRED' })
})

test('a lease is prolonged while its endpoint is heard of, and shortened at once when the policy says so', async () => {
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const { lease } = diskOf(made)
  const use = await inUse(laptop, made)
  await database.rows(`update leases set expires_at = now() + interval '2 minutes' where id = $1`, [lease.id])
  await until(
    async () => Date.parse((await leaseOf(lease.id))?.expiresAt ?? '') - Date.now() > 10 * 60_000,
    'the lease was prolonged',
    40_000,
  )
  const text = defaultPolicy.replace('@leaseMinutes("15")', '@leaseMinutes("2")')
  await ada.send('PUT', '/admin/policy', { text }, z.unknown())
  await until(
    async () => Date.parse((await leaseOf(lease.id))?.expiresAt ?? '') - Date.now() <= 2 * 60_000,
    'the lease was shortened',
  )
  await ada.send('PUT', '/admin/policy', { text: defaultPolicy }, z.unknown())
  use.finish()
  await use.end
})

test('signing out takes the key away', async () => {
  const nora = await site.signIn('nora')
  const use = await inUse(laptop, await laptop.launch(nora, 'lab'))
  await nora.send('DELETE', '/web-sessions/current', undefined, z.unknown())
  expect(await use.end).toMatchObject({
    code: 'LEASE_WITHDRAWN',
    notice: { reason: 'Your sign-in has ended' },
  })
  await untilNothingRuns('nora')
})

test('a workspace that is open on a device is opened there again, and nowhere else before it is ended', async () => {
  await using other = await enrolEndpoint(site, ada, 'laptop-2')
  const nora = await site.signIn('nora')
  const first = await laptop.launch(nora, 'lab')
  const use = await inUse(laptop, first)
  const refused = { code: 'LAUNCH_ON_ENDPOINT', message: expect.stringContaining('laptop-1') }
  await expect(other.launch(nora, 'lab')).rejects.toMatchObject(refused)
  await expect(launch(nora, 'lab')).rejects.toMatchObject(refused)
  const again = await laptop.launch(nora, 'lab')
  expect(await use.end).toMatchObject({ code: 'LEASE_WITHDRAWN' })
  await nora.send('DELETE', `/sessions/${diskOf(again).session.id}`, undefined, z.unknown())
  const moved = await other.launch(nora, 'lab')
  expect(diskOf(moved).session.endpoint.name).toBe('laptop-2')
  await nora.send('DELETE', `/sessions/${diskOf(moved).session.id}`, undefined, z.unknown())
})

test('a revoked endpoint loses what it holds, its connection and its word', async () => {
  await using stolen = await enrolEndpoint(site, ada, 'laptop-3')
  const nora = await site.signIn('nora')
  const made = await stolen.launch(nora, 'lab-only')
  const use = await inUse(stolen, made)
  await ada.send('POST', `/admin/agents/${stolen.agent.id}/revoke`, undefined, z.unknown())
  expect(await use.end).toMatchObject({ code: 'LEASE_WITHDRAWN' })
  expect(Buffer.from(use.opened.key).every((byte) => byte === 0)).toBe(true)
  await expect(stolen.launch(nora, 'lab-only')).rejects.toMatchObject({ code: 'ENDPOINT_REFUSED' })
  await expect.poll(() => stolen.agent.trouble?.message).toContain('has revoked this endpoint')
  expect((await endpoints()).find(({ id }) => id === stolen.agent.id)).toMatchObject({
    revoked: true,
    online: false,
  })
  // Whether its last word still arrived or not.
  const [row] = await database.rows('select state, withdrawn_at from leases where id = $1', [
    diskOf(made).lease.id,
  ])
  expect(row).toMatchObject({
    state: expect.stringMatching(/^(withdrawn|ended)$/),
    withdrawn_at: expect.any(Date),
  })
})

/** A disk that the site knows to be held. */
async function inUse(endpoint: EnrolledEndpoint, made: EndpointLaunch): Promise<LeaseInUse> {
  const use = await leaseInUse(endpoint, made)
  await until(async () => (await leaseOf(use.leaseId))?.state === 'held', 'the lease is held')
  return use
}

async function endpoints() {
  return (await ada.get('/endpoints', endpointsAnswer)).endpoints
}

async function leaseOf(id: string): Promise<LeaseView | undefined> {
  return (await endpoints()).flatMap(({ leases }) => leases).find((lease) => lease.id === id)
}

async function leaseRow(id: string) {
  return (await database.rows('select state from leases where id = $1', [id]))[0]
}

async function sessionOf(id: string) {
  return ada.get(`/sessions/${id}`, sessionView)
}

async function untilNothingRuns(login: string): Promise<void> {
  const running = async () =>
    database.rows(
      `select s.id from sessions s join people p on p.id = s.person_id where p.login = $1 and s.state in ('starting', 'ready')`,
      [login],
    )
  await until(async () => (await running()).length === 0, `nothing of ${login} runs`)
}

async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  const { people } = await ada.get('/admin/people', z.object({ people: z.array(personView) }))
  const person = people.find((one) => one.login === login)
  await ada.send('PATCH', `/admin/people/${person?.id}`, { groups }, z.unknown())
}

async function entries() {
  const rows = await database.rows('select entry from audit_entries order by index')
  return rows.map(({ entry }) => decodeEntry(entry as Buffer))
}
