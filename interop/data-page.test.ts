import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { readIdentity } from '#apps/agent-client/index.ts'
import { startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { call } from '#apps/site-client/call.ts'
import { versionInHello } from '#core/agent/understood.ts'
import { personView } from '#core/api/admin.ts'
import {
  type DataAnswer,
  type DataCopy,
  dataAnswer,
  type TimelineAnswer,
  timelineAnswer,
  withdrawAnswer,
} from '#core/api/data.ts'
import { AUDIT_KINDS, decodeEntry, openTlogProof, parseVerifierKey } from '#core/audit/index.ts'
import { sentenceOf } from '#core/audit/sentence-of.ts'
import { defaultPolicy } from '#core/policy/index.ts'
import {
  type EndpointLaunch,
  type EnrolledEndpoint,
  enrolEndpoint,
  type LeaseInUse,
  leaseInUse,
} from './enrolled-endpoint.rig.ts'
import { launch } from './hosted-person.rig.ts'
import { diskWorkspace, publishForTest } from './published-release.rig.ts'
import { dialAsEndpoint } from './raw-endpoint.rig.ts'
import {
  passwordOf,
  type RunningSite,
  type SignedInClient,
  signIn,
  startSite,
  until,
} from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** Where data is, its time lines, the proof of them, and taking it back: on a real site and its database. */

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let olaf: SignedInClient
let laptop: EnrolledEndpoint
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ada = await site.signIn('ada')
  olaf = await site.signIn('olaf')
  await publishForTest(ada, 'office')
  await ada.send('PUT', '/admin/workspaces/lab', diskWorkspace('office'), z.unknown())
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop-7'))
})
afterAll(() => undo.disposeAsync())

test('whoever is no auditor is told nothing, and an auditor withdraws nothing', async () => {
  const nora = await site.signIn('nora')
  const refused = { code: 'NOT_ALLOWED' }
  for (const path of ['/data', '/timeline?person=nora', '/audit/proof/0'])
    await expect(nora.get(path, z.unknown()), path).rejects.toMatchObject(refused)
  const path = `/leases/${crypto.randomUUID()}/withdraw`
  for (const client of [nora, olaf])
    await expect(client.send('POST', path, { reason: 'no' }, z.unknown())).rejects.toMatchObject(refused)
})

test('what an endpoint holds and what a host runs are both shown, with where, for whom and what protects it', async () => {
  const nora = await site.signIn('nora')
  await launch(await site.signIn('carl'), 'desktop')
  const use = await inUse(await laptop.launch(nora, 'lab'))
  use.stats.bytesWritten = 8192
  await until(async () => (await copyOf(use.leaseId))?.stats?.bytesWritten === 8192, 'counts arrived')

  const { copies, summary } = await data()
  expect(copies.find(({ leaseId }) => leaseId === use.leaseId)).toMatchObject({
    id: use.leaseId,
    workspace: { id: 'lab', name: 'Laboratory' },
    person: { login: 'nora' },
    machine: { name: 'laptop-7', kind: 'endpoint', online: true },
    mode: 'streamed-disk',
    place: 'endpoint',
    zone: { kind: 'inside' },
    image: { name: 'office', version: '1' },
    state: 'held',
    protection: ['key-in-memory', 'overlay-discarded'],
  })
  expect(copies.find(({ person }) => person.login === 'carl')).toMatchObject({
    workspace: { id: 'desktop' },
    machine: { name: 'host-1', kind: 'host' },
    place: 'datacenter',
    zone: { kind: 'inside' },
    protection: ['stays-on-host'],
  })
  expect(summary).toMatchObject({
    total: 2,
    outside: 1,
    readable: 1,
    byPlace: { endpoint: 1, datacenter: 1 },
  })

  const zones = await ada.get('/admin/zones', z.object({ zones: z.array(z.record(z.string(), z.unknown())) }))
  const hostile = zones.zones.map((zone) => (zone['kind'] === 'inside' ? { ...zone, kind: 'outside' } : zone))
  await ada.send('PUT', '/admin/zones', { zones: hostile }, z.unknown())
  const hosted = (await data()).copies.find(({ person }) => person.login === 'carl')
  expect(hosted?.zone.kind).toBe('outside')
  // The disk is permitted inside only.
  expect(await use.end).toMatchObject({ code: 'LEASE_WITHDRAWN', notice: { code: 'TRUST_LOST' } })
  await until(async () => (await copyOf(use.leaseId)) === undefined, 'it is gone when the lease is over')
  await ada.send('PUT', '/admin/zones', zones, z.unknown())
})

test('a lease is withdrawn in the log first: without the log nothing is withdrawn', async () => {
  const nora = await site.signIn('nora')
  const use = await inUse(await laptop.launch(nora, 'lab'))
  const path = `/leases/${use.leaseId}/withdraw`
  await expect(ada.send('POST', path, { reason: '  ' }, z.unknown())).rejects.toMatchObject({
    code: 'BAD_REQUEST',
  })
  await database.rows(
    `create function refuse() returns trigger language plpgsql as $$ begin raise 'full'; end $$`,
  )
  await database.rows('create trigger refuse before insert on audit_entries execute function refuse()')
  const wish = { reason: 'The laptop was left in a train' }
  await expect(ada.send('POST', path, wish, z.unknown())).rejects.toMatchObject({ code: 'SITE_BROKEN' })
  expect(await copyOf(use.leaseId)).toMatchObject({ state: 'held' })
  expect(use.ended).toBeUndefined()
  await database.rows('drop trigger refuse on audit_entries')

  expect(await ada.send('POST', path, wish, withdrawAnswer)).toMatchObject({ id: use.leaseId })
  expect(await use.end).toMatchObject({
    code: 'LEASE_WITHDRAWN',
    notice: { code: 'LEASE_WITHDRAWN_BY_ADMIN', reason: wish.reason },
  })
  expect(Buffer.from(use.opened.key).every((byte) => byte === 0)).toBe(true)
  await until(async () => (await copyOf(use.leaseId)) === undefined, 'its endpoint has confirmed it')
  const told = await timeline({ lease: use.leaseId })
  expect(told.entries.map(({ kind }) => kind)).toEqual(['lease-ended', 'lease-withdrawn', 'key-released'])
  expect(told.entries[1]).toMatchObject({ actor: { type: 'admin' }, data: { reason: wish.reason } })
  const [row] = await database.rows(
    `select l.withdrawn_at, s."end"->>'code' as code from leases l join sessions s on s.id = l.session_id where l.id = $1`,
    [use.leaseId],
  )
  expect(row).toMatchObject({ code: 'SESSION_LEASE_WITHDRAWN' })
  expect(Date.parse(told.entries[1]?.at ?? '')).toBeLessThanOrEqual(Number(row?.['withdrawn_at']))

  const again = ada.send('POST', path, wish, z.unknown())
  await expect(again).rejects.toMatchObject({ code: 'LEASE_OVER', remedy: expect.any(String) })
  const unknown = `/leases/${crypto.randomUUID()}/withdraw`
  await expect(ada.send('POST', unknown, wish, z.unknown())).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('what a lease left on an endpoint is shown until the endpoint has said that it was discarded', async () => {
  const kept = { text: defaultPolicy.replace('@overlay("discard")', '@overlay("keep")') }
  await ada.send('PUT', '/admin/policy', kept, z.unknown())
  const nora = await site.signIn('nora')
  const first = await inUse(await laptop.launch(nora, 'lab'))
  first.stats.bytesWritten = 4096
  await until(async () => (await copyOf(first.leaseId))?.stats?.bytesWritten === 4096, 'counts arrived')
  expect(await copyOf(first.leaseId)).toMatchObject({ protection: ['key-in-memory', 'overlay-kept'] })
  first.finish()
  await first.end
  await until(async () => (await copyOf(first.leaseId))?.state === 'kept', 'it was left there')
  const left = await copyOf(first.leaseId)
  expect(left).toMatchObject({ protection: ['no-key'], stats: { bytesWritten: 4096 }, place: 'endpoint' })
  expect(left).not.toHaveProperty('until')

  const second = await inUse(await laptop.launch(nora, 'lab'))
  expect(await copyOf(first.leaseId)).toBeUndefined()
  expect(await copyOf(second.leaseId)).toMatchObject({ state: 'held' })
  await ada.send('PUT', '/admin/policy', { text: defaultPolicy }, z.unknown())
  await until(
    async () => (await copyOf(second.leaseId))?.protection.includes('overlay-discarded') === true,
    'the policy discards',
    40_000,
  )
  second.finish()
  await second.end
  await until(async () => (await data()).copies.every(({ place }) => place !== 'endpoint'), 'nothing is left')
  // What is said of a session comes after what is said of its lease; time lines are compared from here on.
  await until(async () => {
    const kinds = (await timeline({ workspace: 'lab', limit: '200' })).entries.map(({ kind }) => kind)
    const count = (wanted: string) => kinds.filter((kind) => kind === wanted).length
    return count('session-ended') === count('session-started')
  }, 'each session that began has ended')
}, 120_000)

test('a time line tells all that the log has about a thing, by its id or its name, page by page', async () => {
  const byWorkspace = await timeline({ workspace: 'lab', limit: '200' })
  const kinds = new Set(byWorkspace.entries.map(({ kind }) => kind))
  for (const kind of [
    'admin-change',
    'decision',
    'session-started',
    'key-released',
    'lease-withdrawn',
    'lease-ended',
  ])
    expect(kinds, kind).toContain(kind)
  const indexes = byWorkspace.entries.map(({ index }) => Number(index))
  expect(indexes).toEqual(indexes.toSorted((a, b) => b - a))
  const [log] = [await entries()]
  for (const { index, ...told } of byWorkspace.entries) expect(told).toEqual(log[Number(index)])

  const paged: TimelineAnswer['entries'] = []
  for (let before: string | undefined; ; ) {
    const page = await timeline({ workspace: 'lab', limit: '7', ...(before && { before }) })
    paged.push(...page.entries)
    before = page.next
    if (before === undefined) break
  }
  expect(paged).toEqual(byWorkspace.entries)

  const byName = await timeline({ endpoint: 'laptop-7', limit: '200' })
  expect(byName).toEqual(await timeline({ endpoint: laptop.agent.id, limit: '200' }))
  expect(byName.names).toMatchObject({ [laptop.agent.id]: 'laptop-7' })
  expect(byName.entries.map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(['enrolled', 'lease-withdrawn']),
  )
  const nora = await timeline({ person: 'nora' })
  expect(nora.entries.some(({ kind }) => kind === 'sign-in')).toBe(true)
  expect((await timeline({ person: 'nobody' })).entries).toEqual([])
  for (const query of ['', 'workspace=lab&person=nora', 'workspace=lab&limit=0'])
    await expect(olaf.get(`/timeline?${query}`, z.unknown()), query).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    })
})

test('entries from before the index are found as soon as somebody asks', async () => {
  const before = await timeline({ workspace: 'lab', limit: '200' })
  await database.rows('truncate audit_subjects, audit_sessions')
  await database.rows('update audit_head set indexed = 0')
  expect(await timeline({ workspace: 'lab', limit: '200' })).toEqual(before)
})

test('each entry of a time line comes with a proof that holds without the site, and not when it is tampered with', async () => {
  const { key } = await olaf.get('/audit/key', z.object({ key: z.string() }))
  const verifier = parseVerifierKey(key)
  const told = await timeline({ workspace: 'lab', limit: '50' })
  for (const { index, ...entry } of told.entries) {
    const proven = openTlogProof(await proofOf(index), verifier)
    expect(proven.index).toBe(BigInt(index))
    expect(decodeEntry(proven.entry)).toEqual(entry)
  }
  const withdrawn = told.entries.find(({ kind }) => kind === 'lease-withdrawn')
  const file = join(site.state, 'withdrawn.tlog-proof')
  await writeFile(file, await proofOf(withdrawn?.index ?? ''))
  const good = await site.cli(['audit', 'verify', '--proof', file, '--key', key])
  expect(good).toMatchObject({ code: 0, stderr: '' })
  expect(good.stdout).toContain(`entry ${withdrawn?.index} of`)
  expect(good.stdout).toContain('The laptop was left in a train')

  const text = await readFile(file, 'utf8')
  const entry = /^extra (.*)$/m.exec(text)?.[1] ?? ''
  const lie = Buffer.from(String(Buffer.from(entry, 'base64')).replace('a train', 'a plane')).toString(
    'base64',
  )
  await writeFile(file, text.replace(entry, lie))
  const bad = await site.cli(['audit', 'verify', '--proof', file, '--key', key, '--json'])
  expect(bad.code).toBe(1)
  expect(JSON.parse(bad.stdout)).toMatchObject({ ok: false, code: 'AUDIT_NOT_INCLUDED' })
  expect(await site.cli(['audit', 'verify', '--proof', file])).toMatchObject({ code: 2 })
  await expect(olaf.get('/audit/proof/999999999', z.unknown())).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('the command line lists, withdraws, tells and proves', async () => {
  await writeFile(join(site.state, 'root.crt'), site.address.ca ?? '')
  const login = ['login', site.url, '--user', 'ada', '--ca', join(site.state, 'root.crt')]
  expect(await site.cli(login, { login: 'ada', input: `${passwordOf('ada')}\n` })).toMatchObject({ code: 0 })
  const run = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await site.cli(words, { login: 'ada' })
    expect({ code, stderr }, words.join(' ')).toEqual({ code: 0, stderr: '' })
    return stdout
  }
  expect(await run('lease', 'list')).toBe('No endpoint holds anything.\n')
  const use = await inUse(await laptop.launch(await site.signIn('nora'), 'lab'))
  expect(await run('lease', 'list')).toMatch(new RegExp(`${use.leaseId}  laptop-7 .* held .* in memory only`))
  expect(await run('lease', 'withdraw', use.leaseId, '--reason', 'A drill')).toMatch(/^Withdrawn/)
  expect(await use.end).toMatchObject({ code: 'LEASE_WITHDRAWN', notice: { reason: 'A drill' } })
  const again = await site.cli(['lease', 'withdraw', use.leaseId, '--reason', 'x'], { login: 'ada' })
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('LEASE_OVER') })
  expect(await site.cli(['lease', 'withdraw', use.leaseId], { login: 'ada' })).toMatchObject({ code: 2 })

  const told = await run('audit', 'show', '--about', 'endpoint:laptop-7', '--last', '300')
  expect(told).toMatch(/^\d+ {2}\S+Z {2}laptop-7 was enrolled as endpoint\.$/m)
  const line = /^(\d+) .* took the key back from laptop-7: A drill\.$/m.exec(told)
  const file = join(site.state, 'drill.tlog-proof')
  await run('audit', 'proof', line?.[1] ?? '', file)
  const { key } = await olaf.get('/audit/key', z.object({ key: z.string() }))
  expect(await run('audit', 'verify', '--proof', file, '--key', key)).toContain('A drill')
}, 120_000)

test('however many copies there are, all are counted, searched and reached page by page', async () => {
  const before = (await data()).summary.total
  const many = 5_100
  await database.rows(`
    insert into replicas (id, person_id, scope, image, version, manifest, lease_id, made_at)
    select gen_random_uuid(), l.person_id, '', 'office', 'v' || n, 'none', l.id, now()
    from generate_series(1, ${many}) n, (select id, person_id from leases limit 1) l`)
  const first = await data()
  expect(first).toMatchObject({ found: before + many, summary: { total: before + many } })
  expect(first.summary.byArea['datacenter']).toMatchObject({ replicated: many })
  expect(first.copies).toHaveLength(5_000)
  const last = await olaf.get(`/data?after=${first.next}`, dataAnswer)
  expect(last).toMatchObject({ found: before + many, summary: { total: before + many } })
  expect(last.next).toBeUndefined()
  expect(new Set([...first.copies, ...last.copies].map(({ id }) => id)).size).toBe(before + many)

  // One look answers all who ask while another is under way, each what they have asked.
  const queries = ['search=replica+office:v5099&area=datacenter', 'search=v5099&area=hostile', 'limit=1']
  const [wanted, none, one] = await Promise.all(
    queries.map((query) => olaf.get(`/data?${query}`, dataAnswer)),
  )
  expect(wanted).toMatchObject({ found: 1, copies: [{ image: { version: 'v5099' } }] })
  expect(wanted?.summary.total).toBe(before + many)
  expect(none).toMatchObject({ found: 0, copies: [] })
  expect(one).toMatchObject({ found: before + many, copies: [{}], next: expect.any(String) })
  const few = await olaf.get('/data?search=v509&limit=7', dataAnswer)
  const rest = await olaf.get(`/data?search=v509&limit=7&after=${few.next}`, dataAnswer)
  expect([few.copies.length, rest.copies.length, rest.next]).toEqual([7, 4, undefined])

  const listed = await site.cli(['lease', 'list', '--all', '--json'], { login: 'ada' })
  expect((JSON.parse(listed.stdout) as { copies: unknown[] }).copies).toHaveLength(before + many)
  await database.rows("delete from replicas where manifest = 'none'")
})
test('what is left of a deleted workspace and person is shown until it is gone, and told by their time lines', async () => {
  const password = 'a-long-password-1'
  const wish = { login: 'dora', name: 'Dora Ek', password, groups: ['employees', 'temps'] }
  const { id } = await ada.send('POST', '/admin/people', wish, personView)
  const named = '@id("temps") permit (principal in Group::"temps", action, resource == Workspace::"loan");'
  const text = `${defaultPolicy.replace('@overlay("discard")', '@overlay("keep")')}\n${named}`
  await ada.send('PUT', '/admin/policy', { text }, z.unknown())
  await ada.send('PUT', '/admin/workspaces/loan', diskWorkspace('office'), z.unknown())
  const dora = await signIn(site.address, 'dora', password)
  const use = await inUse(await laptop.launch(dora, 'loan'))
  use.stats.bytesWritten = 4096
  await until(async () => (await copyOf(use.leaseId))?.stats?.bytesWritten === 4096, 'counts arrived')

  const remove = (words: readonly string[], input?: string) =>
    site.cli(words, { login: 'ada', ...(input === undefined ? {} : { input }) })
  const declined = await remove(['workspace', 'delete', 'loan'], 'no\n')
  expect(declined).toMatchObject({ code: 1, stderr: expect.stringContaining('CLI_NOT_CONFIRMED') })
  expect(declined.stdout).toContain('1 lease is withdrawn')
  expect(use.ended).toBeUndefined()
  const deleted = await remove(['workspace', 'delete', 'loan'], 'loan\n')
  expect(deleted).toMatchObject({ code: 0, stdout: expect.stringContaining('Deleted loan.') })
  expect(await use.end).toMatchObject({ notice: { code: 'SESSION_WORKSPACE_DELETED' } })
  await until(async () => (await copyOf(use.leaseId))?.state === 'kept', 'what was written is left')
  expect(await copyOf(use.leaseId)).toMatchObject({
    workspace: { id: 'loan', deleted: true },
    person: { id },
  })
  const told = await timeline({ workspace: 'loan' })
  expect(told.entries.filter(({ kind }) => kind === 'admin-change').map(({ data }) => data)).toMatchObject([
    { change: 'workspace deleted', name: 'Laboratory', data: 'keep', leases: 1 },
    { change: 'workspace' },
  ])
  const again = ada.send('PUT', '/admin/workspaces/loan', diskWorkspace('office'), z.unknown())
  await expect(again).rejects.toMatchObject({ code: 'CONFLICT', remedy: 'Choose another identifier.' })
  await expect(laptop.launch(dora, 'loan')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(await remove(['workspace', 'delete', 'loan', '--yes'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('NOT_FOUND'),
  })
  // The rule that names it, and a group that nobody is in soon, stands and can be written again.
  await ada.send('PUT', '/admin/policy', { text }, z.unknown())

  expect((await remove(['person', 'delete', 'nobody', '--yes'])).stderr).toContain('CLI_NO_SUCH_PERSON')
  const gone = await remove(['person', 'delete', 'dora', '--yes', '--json'])
  expect(JSON.parse(gone.stdout)).toMatchObject({
    overlays: { count: 1, sizeBytes: 4096 },
    person: { endpoints: 0 },
  })
  expect(await copyOf(use.leaseId)).toMatchObject({ state: 'kept', person: { login: 'dora', deleted: true } })
  const lines = await site.cli(['audit', 'show', '--about', `person:${id}`], { login: 'ada' })
  expect(lines.stdout).toContain('made a change: person deleted Dora Ek')

  // A new person of that name, on the same device and for the same image.
  await ada.send('POST', '/admin/people', wish, personView)
  const next = await inUse(await laptop.launch(await signIn(site.address, 'dora', password), 'lab'))
  expect((await data()).copies.filter(({ person }) => person.login === 'dora')).toMatchObject([
    { id: next.leaseId, state: 'held' },
    { id: use.leaseId, state: 'kept', person: { id, deleted: true } },
  ])
  next.finish()
  await next.end
}, 120_000)

test('what is to be discarded goes from a device that was away when it comes back, and nothing else does', async () => {
  const text = defaultPolicy.replace('@overlay("discard")', '@overlay("keep")')
  await ada.send('PUT', '/admin/policy', { text }, z.unknown())
  const password = 'a-long-password-2'
  const wish = { login: 'eve', name: 'Eve Berg', password, groups: ['employees'] }
  const { id } = await ada.send('POST', '/admin/people', wish, personView)
  await using away = await enrolEndpoint(site, ada, 'laptop-8')
  const eve = await signIn(site.address, 'eve', password)
  for (const person of [await site.signIn('carl'), eve]) await launch(person, 'desktop')
  const homes = (): Promise<readonly string[]> => readdir(join(site.state, 'homes'))
  await until(async () => (await homes()).some(isEves), 'she has a home on the host')
  const others = (await homes()).filter((account) => !isEves(account))
  const use = await inUse(await away.launch(eve, 'lab'), away)
  use.stats.bytesWritten = 4096
  const other = crypto.randomUUID()
  const written = [`overlays/${id}/office/1`, `vms/${id}/desk/office/1`, `overlays/${other}/office/1`]
  for (const path of written) {
    await mkdir(join(away.dir, path), { recursive: true })
    await writeFile(join(away.dir, path, 'lock'), '')
  }
  use.finish()
  await use.end
  await until(async () => (await copyOf(use.leaseId))?.state === 'kept', 'it was left there')
  await away.agent[Symbol.asyncDispose]()

  const gone = await site.cli(['person', 'delete', 'eve', '--yes', '--discard'], { login: 'ada' })
  expect(gone.stdout).toContain(
    '1 overlay of closed leases (4.0 KiB) on devices is discarded by each device as',
  )
  await until(
    async () => (await kindsAbout(id)).includes('discarded'),
    'her host has said that her home is gone',
  )
  expect((await homes()).toSorted()).toEqual(others.toSorted())
  expect(others.length).toBeGreaterThan(0)
  expect(await readFile('/etc/passwd', 'utf8')).not.toContain('tc-eve-')
  expect(gone.stdout).toMatch(/The home of the account tc-eve-\w+ on host-1 is removed by each host as/)
  const asked = await copyOf(use.leaseId)
  expect(asked).toMatchObject({ state: 'kept', protection: ['no-key', 'discard-asked'] })
  expect(asked?.machine).not.toHaveProperty('outOfReach')

  const identity = await readIdentity(away.dir, 'endpoint')
  {
    using older = await dialAsEndpoint(identity, false)
    expect(await older.next('desired')).not.toHaveProperty('discard')
  }
  expect((await copyOf(use.leaseId))?.machine).toMatchObject({ outOfReach: true })
  {
    // As one that is killed before it says what it has done, and does not say what it was not asked.
    using killed = await dialAsEndpoint(identity, false, undefined, versionInHello('test'))
    expect(await killed.next('desired')).toMatchObject({ discard: [{ personId: id }] })
    killed.say({ kind: 'discarded', written: [{ personId: other }, { personId: id, workspaceId: 'desk' }] })
    const lease = { id: crypto.randomUUID(), state: 'held', stats: use.stats }
    killed.say({ kind: 'report', at: 1, leases: [lease] })
    expect(await killed.next('desired')).toMatchObject({ heard: 1, discard: [{ personId: id }] })
  }
  expect((await kindsAbout(id)).filter((kind) => kind === 'discarded')).toHaveLength(1)

  const log = { info: () => undefined, warn: () => undefined }
  await using _ = await startEndpointAgent({ dir: away.dir, version: 'test', log })
  await until(async () => (await copyOf(use.leaseId)) === undefined, 'its endpoint has said that it is gone')
  expect(await readdir(join(away.dir, 'overlays'))).toEqual([other])
  expect(await readdir(join(away.dir, 'vms'))).toEqual([])
  const [done, before] = (await timeline({ endpoint: away.agent.id })).entries.filter(({ kind }) =>
    kind.startsWith('discard'),
  )
  expect(done).toMatchObject({
    kind: 'discarded',
    actor: { type: 'endpoint', id: away.agent.id },
    subject: id,
  })
  expect(before).toMatchObject({ kind: 'discard-asked', actor: { type: 'admin' }, subject: away.agent.id })
}, 120_000)

test('every entry of this site’s log is told in a sentence of its own kind', async () => {
  const log = await entries()
  for (const entry of log) {
    expect(AUDIT_KINDS).toContain(entry.kind)
    expect(sentenceOf(entry, {}), entry.kind).not.toMatch(/undefined|null|\[object|did something| {2}|: \.$/)
  }
})

function isEves(account: string): boolean {
  return account.startsWith('tc-eve-')
}

async function kindsAbout(person: string): Promise<readonly string[]> {
  return (await timeline({ person })).entries.map(({ kind }) => kind)
}

/** A disk, of the laptop unless said otherwise, that the site knows to be held. */
async function inUse(made: EndpointLaunch, on = laptop): Promise<LeaseInUse> {
  const use = await leaseInUse(on, made)
  await until(async () => (await copyOf(use.leaseId))?.state === 'held', 'the lease is held')
  return use
}

async function data(): Promise<DataAnswer> {
  return olaf.get('/data', dataAnswer)
}

async function copyOf(id: string): Promise<DataCopy | undefined> {
  return (await data()).copies.find((copy) => copy.id === id)
}

async function timeline(query: Readonly<Record<string, string>>): Promise<TimelineAnswer> {
  return olaf.get(`/timeline?${new URLSearchParams(query).toString()}`, timelineAnswer)
}

async function proofOf(index: string): Promise<Buffer> {
  const path = `/api/v1/audit/proof/${index}`
  const { body, headers } = await call(site.address, { method: 'GET', path }, olaf.credentials)
  expect(headers['content-disposition']).toContain(`audit-${index}.tlog-proof`)
  return body
}

async function entries() {
  const rows = await database.rows('select entry from audit_entries order by index')
  return rows.map(({ entry }) => decodeEntry(entry as Buffer))
}
