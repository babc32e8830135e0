import { createHash, generateKeyPairSync, randomBytes, randomInt, X509Certificate } from 'node:crypto'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { personView } from '#core/api/admin.ts'
import { hostedDelivery, hostedLaunchAnswer } from '#core/api/person.ts'
import { type AuditEntry, encodeVerifierKey, verifyLog } from '#core/audit/index.ts'
import { encodeHex } from '#core/bytes/index.ts'
import { ticketId } from '#core/channel/index.ts'
import { defaultPolicy } from '#core/policy/index.ts'
import { diskOf, type EnrolledEndpoint, enrolEndpoint } from '../enrolled-endpoint.rig.ts'
import { launch, newKey } from '../hosted-person.rig.ts'
import { diskWorkspace, publishForTest } from '../published-release.rig.ts'
import { passwordOf, type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'
import { openDatabase, type SiteDatabase } from '../site-database.rig.ts'

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let nora: SignedInClient
let laptop: EnrolledEndpoint
beforeAll(async () => {
  site = await startSite()
  database = await openDatabase(site)
  ;[ada, nora] = await Promise.all([site.signIn('ada'), site.signIn('nora')])
  const fingerprint = createHash('sha256')
    .update(new X509Certificate(site.address.ca ?? '').raw)
    .digest('hex')
  const words = ['login', site.url, '--user', 'olaf', '--trust', fingerprint]
  expect((await site.cli(words, { login: 'olaf', input: `${passwordOf('olaf')}\n` })).code).toBe(0)
  await publishForTest(ada, 'office')
  const workspace = diskWorkspace('office', { modes: ['streamed-disk'] })
  await ada.send('PUT', '/admin/workspaces/lab', workspace, z.unknown())
  laptop = await enrolEndpoint(site, ada, 'laptop')
})
afterAll(async () => {
  await laptop?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

test('while the log cannot be written, nothing that belongs into it takes effect', async () => {
  const { delivery: running } = await launch(nora, 'terminal')
  const { delivery: ending } = await launch(ada, 'terminal')
  const offered = diskOf(await laptop.launch(ada, 'lab'))
  const { clientKey } = await newKey()
  const person = (await ada.get('/admin/people', z.object({ people: z.array(personView) }))).people.find(
    ({ login }) => login === 'carl',
  )!
  const [host] = await database.rows(`select id from agents where kind = 'host'`)
  const marker = `m${randomBytes(6).toString('hex')}`
  const workspace = {
    name: marker,
    description: '',
    icon: 'terminal',
    modes: ['hosted-shared'],
    collections: [],
  }
  const program = { kind: 'desktop' }
  const any = z.unknown()
  await ada.send('PUT', '/admin/workspaces/leaving', { id: 'leaving', ...workspace, program }, any)
  const account = { login: 'leaving', name: 'Leaving', password: `${marker}-long`, groups: [] }
  const leaving = await ada.send('POST', '/admin/people', account, personView)
  const zones = [{ name: marker, kind: 'inside', networks: ['127.0.0.0/8'] }]
  const deeds: Readonly<Record<string, () => Promise<unknown>>> = {
    'sign-in': () => site.signIn('carl'),
    launch: () => launch(nora, 'editor'),
    'a streamed disk': () => laptop.launch(nora, 'lab'),
    'the key of one': () => laptop.agent.askForKey(offered.lease),
    'a new ticket': () => nora.send('POST', `/sessions/${running.session.id}/tickets`, { clientKey }, any),
    'the end of a session': () => ada.send('DELETE', `/sessions/${ending.session.id}`, undefined, any),
    'a changed person': () => ada.send('PATCH', `/admin/people/${person.id}`, { groups: [marker] }, any),
    'a new person': () =>
      ada.send(
        'POST',
        '/admin/people',
        { login: marker, name: marker, password: `${marker}-long`, groups: [] },
        any,
      ),
    'a deleted person': () => ada.send('DELETE', `/admin/people/${leaving.id}`, undefined, any),
    'a deleted workspace': () => ada.send('DELETE', '/admin/workspaces/leaving', undefined, any),
    'a policy': () => ada.send('PUT', '/admin/policy', { text: `${defaultPolicy}\n// ${marker}` }, any),
    zones: () => ada.send('PUT', '/admin/zones', { zones }, any),
    'a workspace': () =>
      ada.send('PUT', `/admin/workspaces/${marker}`, { id: marker, ...workspace, program }, any),
    'a drained host': () =>
      ada.send('POST', `/admin/hosts/${String(host?.['id'])}/drain`, { draining: true }, any),
    'an enrolment token': () =>
      ada.send('POST', '/admin/enrolment-tokens', { kind: 'host', name: marker }, any),
  }

  const before = await effects()
  const settled: string[] = []
  await using lock = await openDatabase(site)
  await lock.rows('begin')
  await lock.rows('lock table audit_head in exclusive mode')
  const all = Object.entries(deeds).map(async ([name, deed]) => {
    await deed()
    settled.push(name)
  })
  const done = Promise.allSettled(all)
  await until(async () => (await waitingForTheLog()) > 0, 'the site waits for its log')
  // Time enough for whatever would not wait.
  await sleep(2_000)
  expect(settled).toEqual([])
  expect(await effects()).toEqual(before)
  await lock.rows('commit')

  expect((await done).filter(({ status }) => status === 'rejected')).toEqual([])
  expect(settled.toSorted()).toEqual(Object.keys(deeds).toSorted())
  expect(await effects()).not.toEqual(before)
  expect(await missingInLog()).toEqual([])
  const undo = { groups: [...person.groups] }
  await ada.send('PATCH', `/admin/people/${person.id}`, undo, any)
  await ada.send('POST', `/admin/hosts/${String(host?.['id'])}/drain`, { draining: false }, any)
  await ada.send('DELETE', `/sessions/${offered.session.id}`, undefined, any)
}, 90_000)

test('while it cannot be written down that a key goes out, no key goes out', async () => {
  await using held = await openDatabase(site)
  await held.rows('select pg_advisory_lock(77)')
  // All else is written: only this entry waits.
  await database.rows(`
    create function hold_key_entries() returns trigger language plpgsql as $$ begin
      if convert_from(new.entry, 'UTF8') like '%"key-released"%' then perform pg_advisory_xact_lock(77); end if;
      return new;
    end $$`)
  await database.rows(`
    create trigger hold_key_entries before insert on audit_entries for each row execute function hold_key_entries()`)
  const released = () => database.rows('select id from leases where key_released_at is not null')
  const before = (await released()).length
  const { lease } = diskOf(await laptop.launch(ada, 'lab'))
  const answers: Uint8Array[] = []
  const asking = laptop.agent.askForKey(lease).then((key) => answers.push(key))
  asking.catch(() => undefined)
  await until(
    async () =>
      (await database.rows(`select 1 from pg_locks where not granted and locktype = 'advisory'`)).length > 0,
    'the entry waits',
  )
  await sleep(500)
  expect(answers).toEqual([])
  expect((await released()).length).toBe(before)
  await held.rows('select pg_advisory_unlock(77)')
  await asking
  await database.rows('drop trigger hold_key_entries on audit_entries')
  expect((await released()).length).toBe(before + 1)
  expect(await missingInLog()).toEqual([])
}, 60_000)

test('kill -9 of the site during a burst of requests: what it had acknowledged is in the log, and the log holds', async () => {
  const carl = await site.signIn('carl')
  const acknowledged: string[] = []
  for (let round = 0; round < 3; round++) {
    const [pid = 0] = await site.pidsOf('site')
    const killed = new AbortController()
    const marks = { acknowledged, until: killed.signal }
    const burst = [
      ...[ada, nora, carl].flatMap((client) =>
        ['terminal', 'editor', 'desktop'].map((workspace) => launchOften(client, workspace, marks)),
      ),
      renameOften(carl, marks),
      tokenOften(marks),
      signInOften(marks),
    ]
    const start = acknowledged.length
    await until(() => acknowledged.length > start + 10, 'the site is busy')
    await sleep(randomInt(200))
    process.kill(pid, 'SIGKILL')
    killed.abort()
    await Promise.all(burst)
    await until(
      async () => (await site.pidsOf('site')).some((one) => one !== pid),
      'the site is started again',
    )
    await until(
      () =>
        ada.get('/me', z.unknown()).then(
          () => true,
          () => false,
        ),
      'the site answers',
    )
  }
  expect(acknowledged.length).toBeGreaterThan(30)
  const text = JSON.stringify((await readLog()).map(({ entry }) => entry))
  expect(acknowledged.filter((mark) => !text.includes(mark))).toEqual([])
  expect(await missingInLog()).toEqual([])
  const verified = await site.cli(['audit', 'verify', '--json'], { login: 'olaf' })
  expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining('"ok":true') })
}, 120_000)

test('each delivery stands in the log in the order of its life', async () => {
  const { delivery: made } = await launch(nora, 'terminal')
  const log = await readLog()
  const ticket = encodeHex(await ticketId(Buffer.from(made.ticket, 'base64url')))
  const { id, decisionId, person } = made.session
  const at = (isIt: (entry: AuditEntry) => boolean): number => log.findIndex(({ entry }) => isIt(entry))
  const life = [
    at(({ kind, actor }) => kind === 'sign-in' && actor.id === person.id),
    at(({ kind, subject }) => kind === 'session-started' && subject === id),
    at(({ kind, data }) => kind === 'decision' && holds(data, decisionId)),
    at(({ kind, data }) => kind === 'ticket-issued' && holds(data, ticket)),
  ]
  expect(life).not.toContain(-1)
  const started = log[life[1]!]!.entry
  const firstDecision = (started.data as { decision: string }).decision
  expect(at(({ kind, data }) => kind === 'decision' && holds(data, firstDecision))).toBeLessThan(life[1]!)
  expect(life[0]).toBeLessThan(life[1]!)
  expect(life[2]).toBeLessThan(life[3]!)
  const decision = log[life[2]!]!.entry.data
  expect(decision).toMatchObject({
    policyDigest: expect.stringMatching(/./),
    claims: { 'network.zone': expect.anything() },
  })
  // The log names tickets and never holds one.
  expect(JSON.stringify(log)).not.toContain(made.ticket)
})

test('a copy in which anything was changed is found out, with the first entry that is not as it was', async () => {
  const copy = join(site.state, 'copy')
  expect((await site.cli(['audit', 'export', copy], { login: 'olaf' })).code).toBe(0)
  const key = (await readFile(join(copy, 'key'), 'utf8')).trim()
  expect((await site.cli(['audit', 'verify', copy, '--key', key])).code).toBe(0)

  const files = (await readdir(copy, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name !== 'key')
    .map((entry) => join(entry.parentPath, entry.name))
  const read = (path: string): Promise<Buffer | undefined> =>
    readFile(join(copy, path)).catch(() => undefined)
  for (const file of files) {
    const whole = await readFile(file)
    for (let tries = 0; tries < 8; tries++) {
      const changed = Buffer.from(whole)
      const at = randomInt(changed.length)
      changed[at]! ^= 1 << randomInt(8)
      await writeFile(file, changed)
      const verdict = await verifyLog({ read, publicKey: key })
      expect(verdict.ok, `byte ${at} of ${file}`).toBe(false)
      if (file.includes('/entries/') && !verdict.ok && isInsideEntry(whole, at))
        expect(verdict.index, `byte ${at} of ${file}`).toBe(
          BigInt(firstIndexOf(file) + entryAround(whole, at)),
        )
    }
    await rm(file)
    expect((await verifyLog({ read, publicKey: key })).ok, `without ${file}`).toBe(false)
    await writeFile(file, whole)
  }
  expect((await verifyLog({ read, publicKey: key })).ok).toBe(true)

  const entries = files.find((file) => file.includes('/entries/'))!
  const bundle = await readFile(entries)
  const place = bundle.indexOf('"sign-in"')
  bundle.write('"sign-on"', place)
  await writeFile(entries, bundle)
  const found = await site.cli(['audit', 'verify', copy, '--key', key, '--json'])
  expect(found.code).toBe(1)
  expect(JSON.parse(found.stdout)).toMatchObject({
    ok: false,
    index: String(firstIndexOf(entries) + entryAround(bundle, place)),
  })
}, 60_000)

test('a log that was cut, or changed in the database itself, is found out', async () => {
  const [old, now] = [join(site.state, 'old'), join(site.state, 'now')]
  await site.cli(['audit', 'export', old], { login: 'olaf' })
  await site.signIn('nora')
  await site.cli(['audit', 'export', now], { login: 'olaf' })
  const key = (await readFile(join(now, 'key'), 'utf8')).trim()
  const checkpoint = join(now, 'checkpoint')
  const grown = ['audit', 'verify', now, '--key', key, '--checkpoint', join(old, 'checkpoint')]
  expect((await site.cli(grown)).code).toBe(0)
  expect((await site.cli(['audit', 'verify', old, '--key', key, '--checkpoint', checkpoint])).code).toBe(1)
  await cp(checkpoint, join(old, 'checkpoint'))
  expect((await site.cli(['audit', 'verify', old, '--key', key])).code).toBe(1)

  const [row] = await database.rows(
    `select index, entry from audit_entries where convert_from(entry, 'UTF8') like '%"sign-in"%' order by index limit 1`,
  )
  const entry = row!['entry'] as Buffer
  const forged = Buffer.from(String(entry).replace('"sign-in"', '"sign-on"'))
  const write = (bytes: Buffer) =>
    database.rows('update audit_entries set entry = $1 where index = $2', [bytes, row!['index']])
  await write(forged)
  const verdict = await site.cli(['audit', 'verify', '--json'], { login: 'olaf' })
  await write(entry)
  expect(verdict.code).toBe(1)
  expect(JSON.parse(verdict.stdout)).toMatchObject({
    ok: false,
    index: String(row!['index']),
    key,
    keyFrom: 'site',
  })
  const asked = await site.cli(['audit', 'verify'], { login: 'olaf' })
  expect(asked).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`came from the site that is judged`),
  })
  expect(asked.stdout).toContain(key)
  const given = await site.cli(['audit', 'verify', '--key', key], { login: 'olaf' })
  expect(given).toMatchObject({ code: 0, stdout: expect.not.stringContaining('came from the site') })
}, 60_000)

test('a log that was put back to an earlier state is found out by a copy, and does not replace it', async () => {
  const [old, copy] = [join(site.state, 'earlier'), join(site.state, 'later')]
  const exportTo = (dir: string) => site.cli(['audit', 'export', dir], { login: 'olaf' })
  expect((await exportTo(old)).code).toBe(0)
  // Again, and from what is there.
  await cp(old, copy, { recursive: true })
  const [head] = await database.rows('select size, indexed, frontier, checkpoint from audit_head')
  await site.signIn('nora')
  expect((await exportTo(copy)).code).toBe(0)
  const key = (await readFile(join(copy, 'key'), 'utf8')).trim()
  const compare = (dir: string, other: string) =>
    site.cli(['audit', 'verify', dir, '--key', key, '--against', other])
  expect(await compare(old, copy)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('this one is the older'),
  })
  expect(await compare(copy, old)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('it is the older'),
  })

  await using lock = await openDatabase(site)
  await lock.rows('begin')
  await lock.rows('lock table audit_head in exclusive mode')
  await lock.rows('update audit_head set size = $1, indexed = $2, frontier = $3, checkpoint = $4', [
    head!['size'],
    head!['indexed'],
    head!['frontier'],
    head!['checkpoint'],
  ])
  for (const table of ['audit_entries', 'audit_subjects'])
    await lock.rows(`delete from ${table} where index >= $1`, [head!['size']])
  await lock.rows('delete from audit_hashes where level = 0 and index >= $1', [head!['size']])
  await lock.rows('commit')
  await lock.rows('begin')
  await lock.rows('lock table audit_head in exclusive mode')

  const files = await contentOf(copy)
  const against = ['audit', 'verify', '--against', copy]
  expect(await site.cli(against, { login: 'olaf' })).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^AUDIT_(?:CUT|FORKED)/),
  })
  expect(await exportTo(copy)).toMatchObject({ code: 1, stderr: expect.stringContaining('CLI_OTHER_LOG') })
  expect(await contentOf(copy)).toEqual(files)
  await lock.rows('rollback')
}, 60_000)

test('an export leaves a copy that was made under another key', async () => {
  const copy = join(site.state, 'foreign')
  expect((await site.cli(['audit', 'export', copy], { login: 'olaf' })).code).toBe(0)
  // Where nobody is signed in: a copy tells what a site that was put back has forgotten.
  const ofCopy = await site.cli(['audit', 'show', copy, '--last', '3'])
  const ofSite = await site.cli(['audit', 'show', '--last', '500'], { login: 'olaf' })
  expect(ofCopy.stdout.split('\n')).toHaveLength(4)
  for (const line of ofCopy.stdout.split('\n')) expect(ofSite.stdout).toContain(line)
  const foreign = encodeVerifierKey('trustcast.other', generateKeyPairSync('ed25519').publicKey)
  await writeFile(join(copy, 'key'), foreign)
  const again = await site.cli(['audit', 'export', copy], { login: 'olaf' })
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('CLI_OTHER_LOG') })
  expect(await readFile(join(copy, 'key'), 'utf8')).toBe(foreign)
}, 60_000)

async function contentOf(dir: string): Promise<readonly string[]> {
  const files = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((one) => one.isFile())
  const paths = files.map((one) => join(one.parentPath, one.name)).toSorted()
  return Promise.all(paths.map(async (path) => `${path} ${await readFile(path, 'base64')}`))
}

/** Everything that an entry of the log stands for; without what changes by itself. */
async function effects(): Promise<unknown> {
  const tables = {
    people: 'id, login, name, groups, disabled, password, deleted_at',
    web_sessions: 'id, person_id',
    workspaces: 'id, definition, deleted_at',
    agents: 'id, draining, revoked_at, placed',
    enrolment_tokens: 'secret_hash, used_at',
    sessions: 'id, state, "end", rights, obligations, web_session_id',
    leases: 'id, state, key_released_at',
    tickets: 'id',
    decisions: 'id',
    policies: 'digest',
    settings: 'key, value',
  }
  const all = Object.entries(tables).map(async ([table, columns]) => [
    table,
    await database.rows(`select ${columns} from ${table} order by 1`),
  ])
  return Object.fromEntries(await Promise.all(all))
}

async function waitingForTheLog(): Promise<number> {
  const rows = await database.rows(
    `select 1 from pg_locks where not granted and relation = 'audit_head'::regclass`,
  )
  return rows.length
}

interface LogLine {
  readonly index: string
  readonly entry: AuditEntry
}

async function readLog(): Promise<readonly LogLine[]> {
  const { stdout } = await site.cli(['audit', 'show', '--last', '100000', '--json'], { login: 'olaf' })
  return (JSON.parse(stdout) as { entries: LogLine[] }).entries
}

function holds(data: unknown, value: string): boolean {
  return JSON.stringify(data).includes(value)
}

/** What is in the database and has no entry in the log. The database is read first: what it holds must be older. */
async function missingInLog(): Promise<readonly string[]> {
  const rows = await Promise.all([
    database.rows(`select 'session-started' as kind, id::text as mark from sessions`),
    database.rows(`select 'session-ended' as kind, id::text as mark from sessions where state = 'ended'`),
    database.rows(`select 'ticket-issued' as kind, encode(id, 'hex') as mark from tickets`),
    database.rows(
      `select 'key-released' as kind, id::text as mark from leases where key_released_at is not null`,
    ),
    database.rows(`select 'decision' as kind, id::text as mark from decisions`),
    database.rows(`select 'policy-activated' as kind, digest as mark from policies`),
    database.rows(`select 'admin-change' as kind, id::text as mark from people`),
    database.rows(`select 'admin-change' as kind, id as mark from workspaces`),
    database.rows(`select 'enrolled' as kind, id::text as mark from agents`),
    database.rows(
      `select 'enrolment-token' as kind, name as mark from enrolment_tokens where kind <> 'admin'`,
    ),
    database.rows(`select 'sign-in' as kind, person_id::text as mark from web_sessions`),
  ])
  const log = (await readLog()).map(({ entry }) => ({ kind: entry.kind, text: JSON.stringify(entry) }))
  return rows
    .flat()
    .filter(
      ({ kind, mark }) => !log.some((entry) => entry.kind === kind && entry.text.includes(String(mark))),
    )
    .map(({ kind, mark }) => `${String(kind)} ${String(mark)}`)
}

interface Marks {
  /** What each acknowledged answer leaves, and the log must hold. */
  readonly acknowledged: string[]
  /** Aborts when the site was killed: it is started again so soon that nobody need notice. */
  readonly until: AbortSignal
}

async function often({ acknowledged, until: killed }: Marks, deed: () => Promise<string>): Promise<void> {
  while (!killed.aborted) {
    try {
      acknowledged.push(await deed())
    } catch {
      // Refused, such as a launch while the same one is under way, or cut off.
      await sleep(20)
    }
  }
}

function launchOften(client: SignedInClient, workspaceId: string, marks: Marks): Promise<void> {
  return often(marks, async () => {
    const { clientKey } = await newKey()
    const answer = await client.send('POST', '/launches', { workspaceId, clientKey }, hostedLaunchAnswer)
    return markOf(hostedDelivery.parse(answer.delivery).ticket)
  })
}

async function markOf(ticket: string): Promise<string> {
  return encodeHex(await ticketId(Buffer.from(ticket, 'base64url')))
}

async function renameOften(client: SignedInClient, marks: Marks): Promise<void> {
  const { id } = await client.get('/me', z.object({ id: z.uuid() }))
  return often(marks, async () => {
    const name = `Carl ${randomBytes(6).toString('hex')}`
    await ada.send('PATCH', `/admin/people/${id}`, { name }, z.unknown())
    return name
  })
}

function tokenOften(marks: Marks): Promise<void> {
  return often(marks, async () => {
    const name = `t${randomBytes(6).toString('hex')}`
    await ada.send('POST', '/admin/enrolment-tokens', { kind: 'gateway', name }, z.unknown())
    return name
  })
}

function signInOften(marks: Marks): Promise<void> {
  return often(marks, async () => {
    const client = await site.signIn('nora')
    return (await client.get('/me', z.object({ id: z.uuid() }))).id
  })
}

/** Which entry of a bundle a byte belongs to: lengths of two bytes stand before each. */
function entryAround(bundle: Buffer, at: number): number {
  let index = 0
  for (let start = 0; start < bundle.length; index++) {
    start += 2 + bundle.readUInt16BE(start)
    if (at < start) return index
  }
  return index
}

/** A changed length shifts all that follows: then only the entry's own bytes tell its place. */
function isInsideEntry(bundle: Buffer, at: number): boolean {
  let start = 0
  while (start + 2 + bundle.readUInt16BE(start) <= at) start += 2 + bundle.readUInt16BE(start)
  return at >= start + 2
}

/** Of a tile's path, such as `tile/entries/000.p/17`. */
function firstIndexOf(file: string): number {
  const name = /entries\/(.*?)(?:\.p\/\d+)?$/.exec(file)?.[1] ?? '0'
  return Number(name.replaceAll(/[x/]/g, '')) * 256
}
