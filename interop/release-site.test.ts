import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { BaseFetcher, Updater } from 'tuf-js'
import { DownloadHTTPError } from 'tuf-js/dist/error.js'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { makeSoftToken, type SoftToken } from '#adapters/release-key-pkcs11/softhsm.rig.ts'
import { openReleases } from '#adapters/releases-tuf/index.ts'
import { openAlarms, openStore, type Store } from '#adapters/store-postgres/index.ts'
import { statsOfDisk } from '#apps/endpoint/disk/attached.ts'
import type { DiskStats } from '#apps/endpoint/disk/disk-stats.ts'
import { siteConfig } from '#apps/site/config.ts'
import { openSite } from '#apps/site/open-site.ts'
import { findDirected } from '#apps/site/releases/release-channels.ts'
import { warnOfEnds } from '#apps/site/releases/release-ends.ts'
import { renewWhenDue } from '#apps/site/releases/release-publishing.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import { decodeMetadata } from '#core/release/index.ts'
import { waveOf } from '#core/release/waves.ts'
import { diskOf, type EnrolledEndpoint, enrolEndpoint } from './enrolled-endpoint.rig.ts'
import { diskWorkspace } from './published-release.rig.ts'
import { launchedAt, useReplicatedDisk } from './replicated-disk.rig.ts'
import {
  type CliResult,
  passwordOf,
  type RunningSite,
  type SignedInClient,
  startSite,
} from './running-site.rig.ts'

/** People release an image through a real site by the command line; clients of TUF read it from the site. */

const people = ['alice', 'bob', 'carol'] as const
const image = 'debian-desktop'
const trustcast = join(import.meta.dirname, '../trustcast')
const diskBytes = 1024 * 1024
// Each command is a process of its own, and opening a key is slow on purpose.
vi.setConfig({ testTimeout: 300_000 })

let site: RunningSite
let store: Store
/** Dora's key never leaves it. */
let token: SoftToken
const environment = { ...process.env }

beforeAll(async () => {
  token = await makeSoftToken('dora')
  site = await startSite()
  store = openStore({
    host: join(site.state, 'postgres-run'),
    port: 5432,
    user: 'trustcast',
    database: 'trustcast',
  })
  process.env['TRUSTCAST_STORE'] = join(site.state, 'images')
  process.env['TRUSTCAST_IMAGES'] = join(site.state, 'image-keys')
  await writeFile(join(site.state, 'root.crt'), site.address.ca ?? '')
  for (const login of ['ada', 'nora']) {
    const words = ['login', site.url, '--user', login, '--ca', join(site.state, 'root.crt')]
    await done(site.cli(words, { login, input: `${passwordOf(login)}\n` }))
  }
  for (const name of people) {
    await writeFile(passphraseOf(name), `the long passphrase of ${name}\n`)
    await done(run('key', 'create', keyOf(name), '--name', name, '--passphrase-file', passphraseOf(name)))
  }
})

afterAll(async () => {
  process.env = environment
  await store.close()
  await site[Symbol.asyncDispose]()
  await token[Symbol.asyncDispose]()
})

test('two of three people sign who signs, and nothing takes effect before', async () => {
  const publicFiles = people.map((name) => `${keyOf(name)}.pub`)
  const early = await run('image', 'delegate', image, ...publicFiles, '--threshold', '2')
  expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_NO_ROOT') })
  const impossible = await run('image', 'root', ...publicFiles, '--threshold', '4')
  expect(impossible).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_BAD_THRESHOLD') })

  expect(await run('image', 'renew', 'root')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('trustcast image root'),
  })
  const proposed = await done(run('image', 'root', ...publicFiles, '--threshold', '2'))
  expect(proposed).toContain('root as proposed: 0 of 2 signatures, may sign: alice, bob, carol')
  await done(run('image', 'delegate', image, ...publicFiles, '--threshold', '2'))
  await done(sign('root', 'alice'))
  const below = await run('image', 'publish', 'root')
  expect(below).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_BELOW_THRESHOLD') })
  expect(below.stderr).toContain('1 more of: bob, carol')
  // The same person again is still one.
  await done(sign('root', 'alice'))
  expect(await run('image', 'publish', 'root')).toMatchObject({ code: 1 })

  expect(await done(sign('root', 'bob'))).toContain('It is signed.')
  await done(sign('targets', 'bob'))
  const shown = await done(sign('targets', 'carol'))
  expect(shown).toContain(`${image}: 2 of 3 must sign`)
  expect(await done(run('image', 'publish', 'root', 'targets'))).toContain(
    'root 1, targets 1, snapshot 1, timestamp 1',
  )
})

test('a release is registered, shown, signed by two, published, and read by tuf-js and by an endpoint', async () => {
  await importVersion('1')
  const unknown = await run('image', 'publish', `${image}:1`)
  expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('CLI_OTHER_PROPOSAL') })
  const first = await done(sign(`${image}:1`, 'alice'))
  expect(first).toContain(`release       ${image}/1, number 1`)
  expect(first).toContain('It is the image that this account imported.')
  expect(first).toContain('1 of 2 signatures by alice')
  const below = await run('image', 'publish', `${image}:1`, '--channel', 'test')
  expect(below).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_BELOW_THRESHOLD') })
  expect(
    await standardClient().then((client) => client.getTargetInfo(`${image}/1`).catch(() => undefined)),
  ).toBeUndefined()

  await done(sign(`${image}:1`, 'carol'))
  const misspelt = await run('image', 'publish', `${image}:1`, '--channel', 'prod')
  expect(misspelt).toMatchObject({ code: 2, stderr: expect.stringContaining('test or production') })
  await done(run('image', 'publish', `${image}:1`, '--channel', 'test'))
  const again = await run('image', 'publish', `${image}:1`, '--channel', 'production')
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('is published already') })
  expect(again.stderr).toContain(`trustcast image promote ${image}:1`)
  const target = await (await standardClient()).getTargetInfo(`${image}/1`)
  expect(target?.custom).toEqual({ counter: 1 })
  const release = await (await endpoint('first')).release(image, '1')
  expect(release).toMatchObject({ counter: 1, manifestDigest: target?.hashes['sha256'] })
  expect(await directed('test')).toMatchObject({ version: '1', manifestDigest: release?.manifestDigest })
  expect(await directed('production')).toBeUndefined()
})

test('signing is refused for what was not meant, by keys that were not named, and without a yes', async () => {
  await importVersion('2', addBootTrace)
  expect(await sign(`${image}:1`, 'alice')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('RELEASE_EXISTS'),
  })
  const unsure = await signOnTerminal(`${image}:2`, 'alice', 'no')
  expect(unsure).toContain('CLI_NOT_CONFIRMED')
  expect(unsure).toContain(`trustcast image withdraw ${image}`)
  await done(sign(`${image}:2`, 'alice'))
  const other = await sign(`${image}:3`, 'bob')
  expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('CLI_OTHER_PROPOSAL') })

  await writeFile(passphraseOf('mallory'), 'the long passphrase of mallory')
  await done(run('key', 'create', keyOf('mallory'), '--passphrase-file', passphraseOf('mallory')))
  const stranger = await sign(`${image}:2`, 'mallory')
  expect(stranger).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_UNKNOWN_KEY') })
  const wrong = await run(
    'image',
    'sign',
    `${image}:2`,
    '--key',
    keyOf('bob'),
    '--passphrase-file',
    passphraseOf('alice'),
    '--yes',
  )
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('KEY_FILE_WRONG_PASSPHRASE') })
  const silent = await run('image', 'sign', `${image}:2`, '--key', keyOf('bob'))
  expect(silent).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') })
})

test('who is no admin may sign, and neither propose nor publish', async () => {
  const words = ['--key', keyOf('bob'), '--passphrase-file', passphraseOf('bob'), '--yes']
  await done(site.cli(['image', 'sign', `${image}:2`, ...words], { login: 'nora' }))
  for (const command of [
    ['image', 'promote', `${image}:1`, '--channel', 'production'],
    ['image', 'withdraw', image],
    ['image', 'rollback', image, '--to', '1'],
    ['image', 'releases'],
  ]) {
    const refused = await site.cli(command, { login: 'nora' })
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_ALLOWED') })
  }
})

test('a wave grows from canaries to everybody, and takes nobody back', async () => {
  await done(run('image', 'publish', `${image}:2`))
  const promote = (version: string, ...words: string[]) =>
    run('image', 'promote', `${image}:${version}`, '--channel', 'production', ...words)
  expect(await promote('1', '--percent', '10')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('CONFLICT'),
  })
  await done(promote('1'))
  expect(await done(promote('2', '--canary', 'pilots'))).toContain(
    'production: 1, 0 % and first pilots get 2',
  )
  const endpoints = Array.from({ length: 200 }, () => ({ id: crypto.randomUUID(), groups: ['wards'] }))
  expect(await versions(endpoints)).toEqual(new Set(['1']))
  expect(await directed('production', { id: crypto.randomUUID(), groups: ['pilots'] })).toMatchObject({
    version: '2',
  })
  const [first, others] = [endpoints[0]!, endpoints.slice(1)]
  expect(await done(promote('2', '--endpoint', first.id))).toContain(
    `production: 1, 0 % and first pilots, ${first.id} get 2`,
  )
  expect(await versions([first])).toEqual(new Set(['2']))
  expect(await versions(others)).toEqual(new Set(['1']))

  await done(promote('2', '--percent', '30'))
  expect(await versions([first])).toEqual(new Set(['2']))
  const early: Machine[] = []
  for (const one of endpoints) if ((await directed('production', one))?.version === '2') early.push(one)
  expect(early.length).toBeGreaterThan(20)
  expect(early.length).toBeLessThan(120)
  // Who is added to it leaves the others as they are.
  expect(await done(promote('2', '--canary', 'late'))).toContain('30 % and first pilots, late')
  expect(await promote('2', '--percent', '20')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('A wave only grows'),
  })
  await done(promote('2', '--percent', '60'))
  expect(await versions(early)).toEqual(new Set(['2']))
  await done(promote('2', '--percent', '100'))
  expect(await versions(endpoints)).toEqual(new Set(['2']))
  expect(await promote('1')).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_ROLLBACK') })
})

test('enrolled endpoints are given a wave by their launches: canaries first, then by percentage', async () => {
  const [admin, nora] = [await site.signIn('ada'), await site.signIn('nora')]
  await using pilot = await enrolEndpoint(site, admin, 'pilot', { pool: 'pilots' })
  await using ward = await enrolEndpoint(site, admin, 'ward', { pool: 'wards' })
  const disk = { image, channel: 'test', application: 'writer' } as const
  const workspace = diskWorkspace(image, { modes: ['streamed-disk'], disk })
  await admin.send('PUT', `/admin/workspaces/${workspace.id}`, workspace, z.unknown())
  const promote = (...wave: string[]) =>
    done(run('image', 'promote', `${image}:2`, '--channel', 'test', ...wave))
  const wave = Math.floor(waveOf(ward.agent.id, image, '2'))

  await promote('--canary', 'pilots')
  await whileStreaming(pilot, nora, '2', async (disk) => {
    // Nobody reads it: its boot trace, which was signed with it, says what is fetched ahead.
    await expect.poll(async () => (await disk.stats()).percentLocal).toBe(100)
  })
  await promote('--percent', String(wave))
  await whileStreaming(ward, nora, '1', async (disk) => {
    expect((await disk.stats()).percentLocal).toBeLessThan(100)
  })
  await promote('--percent', String(wave + 1))
  for (const endpoint of [ward, pilot]) await whileStreaming(endpoint, nora, '2')
})

test('going back is a release of its own', async () => {
  expect(await done(run('image', 'rollback', image, '--to', '1'))).toContain(
    `${image}:1-again-3 as release 3`,
  )
  const shown = await done(sign(`${image}:1-again-3`, 'alice'))
  expect(shown).toContain(`number 3: again the image of ${image}/1`)
  await done(sign(`${image}:1-again-3`, 'bob'))
  await done(run('image', 'publish', `${image}:1-again-3`))
  await done(run('image', 'promote', `${image}:1-again-3`, '--channel', 'production'))
  const release = await (await endpoint('back')).release(image, '1-again-3')
  expect(release).toMatchObject({ contentVersion: '1', counter: 3 })
  expect(await directed('production')).toEqual({
    name: image,
    version: '1-again-3',
    counter: 3,
    manifestDigest: release?.manifestDigest,
  })
})

test('keys change hands: what the new ones must sign comes along', async () => {
  const listed = await done(run('key', 'list', '--pkcs11', token.module))
  expect(listed).toContain('dora')
  const publicFile = `${keyOf('dora')}.pub`
  await done(run('key', 'show', '--pkcs11', token.module, '--out', publicFile))
  expect(await done(run('key', 'show', publicFile))).toContain('ecdsa-sha2-nistp256')
  const files = [`${keyOf('carol')}.pub`, publicFile]
  const proposed = await done(run('image', 'delegate', image, ...files, '--threshold', '2'))
  expect(proposed).toContain('targets, version 2')
  expect(proposed).toContain(`${image}, version 4`)
  expect(await done(sign('targets', 'alice'))).toContain('no longer')
  await done(sign('targets', 'bob'))
  const alone = await run('image', 'publish', 'targets')
  expect(alone).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_BELOW_THRESHOLD') })
  await done(sign(image, 'carol'))
  await done(signByToken(image))
  await done(run('image', 'publish', 'targets', image))
  expect(await (await endpoint('back')).list(image)).toHaveLength(3)
  expect(await (await standardClient()).getTargetInfo(`${image}/1`)).toBeDefined()

  const root = await done(run('image', 'root', ...files, '--threshold', '1', '--json'))
  expect(JSON.parse(root)).toMatchObject([
    { role: 'root', missing: 2 },
    { role: 'targets', missing: 1 },
  ])
  await done(sign('root', 'alice'))
  const oldOnly = await run('image', 'publish', 'root', 'targets')
  expect(oldOnly).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_BELOW_THRESHOLD') })
  await done(sign('root', 'carol'))
  await done(signByToken('targets'))
  await done(run('image', 'publish', 'root', 'targets'))
  expect(await (await endpoint('back')).list(image)).toHaveLength(3)
})

test('an old release is retired once no channel gives it; what is proposed can be withdrawn', async () => {
  const needed = await run('image', 'retire', `${image}:2`)
  expect(needed).toMatchObject({ code: 1, stderr: expect.stringContaining('the channel test gives') })
  await done(run('image', 'promote', `${image}:1-again-3`, '--channel', 'test'))
  await done(run('image', 'retire', `${image}:2`))
  await done(run('image', 'withdraw', image))
  await done(run('image', 'retire', `${image}:2`))
  expect(await done(sign(image, 'carol'))).toContain(`retired       ${image}/2`)
  await done(signByToken(image))
  await done(run('image', 'publish', image))
  const listed = await done(run('image', 'releases', image))
  expect(listed).not.toContain(`${image}:2 `)
  expect(await (await endpoint('back')).release(image, '2')).toBeUndefined()
})

test('the site renews what says that all is current, once for all nodes', async () => {
  const config = parseConfig(await readFile(join(site.state, 'site.yaml'), 'utf8'), siteConfig, 'site.yaml')
  const stop = new AbortController()
  const opened = await openSite(config, store, pino({ level: 'silent' }), stop.signal)
  const before = await timestampVersion()
  expect(await renewWhenDue(opened)).toBe(false)
  const later = { ...opened, now: () => Date.now() + 13 * 60 * 60_000 }
  const renewed = await Promise.all([renewWhenDue(later), renewWhenDue(later)])
  expect(renewed.filter(Boolean)).toHaveLength(1)
  expect(await timestampVersion()).toBe(before + 1)
  await (await endpoint('back')).refresh()
  stop.abort()
})

test('admins are called before what people signed ends: once for all of it, and anew when more of it does', async () => {
  const config = parseConfig(await readFile(join(site.state, 'site.yaml'), 'utf8'), siteConfig, 'site.yaml')
  const stop = new AbortController()
  const opened = await openSite(config, store, pino({ level: 'silent' }), stop.signal)
  const inDays = (days: number): typeof opened => ({
    ...opened,
    now: () => Date.now() + days * 24 * 60 * 60_000,
  })
  // The site itself, which knows what day it is, may end any of them at any time: those that have ended count, too.
  const raised = async () => {
    const rows = store.db.selectFrom('alarms').selectAll().where('kind', '=', 'releases').orderBy('raised_at')
    return (await rows.execute()).map(({ message }) => message)
  }
  await warnOfEnds(inDays(150))
  expect(await raised()).toEqual([])
  await warnOfEnds(inDays(160))
  const early = [expect.stringMatching(new RegExp(`keys of images \\(20.*${image} \\(20[-0-9]+\\)\\. From`))]
  expect(await raised()).toEqual(early)
  await warnOfEnds(inDays(340))
  const all = [...early, expect.stringMatching(/root keys \(20[-0-9]+\)\. From/)]
  expect(await raised()).toEqual(all)
  await warnOfEnds(opened)
  const standing = await openAlarms(store.db)
  expect(standing.filter(({ kind }) => kind === 'releases')).toEqual([])
  expect(await raised()).toEqual(all)
  stop.abort()
})

test('every step is in the audit log, and the log holds', async () => {
  const shown = JSON.parse(await done(run('audit', 'show', '--last', '500', '--json'))) as {
    entries: { entry: { kind: string } }[]
  }
  const kinds = new Set(shown.entries.map(({ entry }) => entry.kind))
  for (const kind of [
    'image-registered',
    'release-proposed',
    'release-signed',
    'release-published',
    'channel-changed',
  ]) {
    expect(kinds).toContain(kind)
  }
  expect(await done(run('audit', 'verify'))).toContain('holds')
})

/** A launch of the workspace by a person, whose disk is opened, used, and found to be that of a version. */
async function whileStreaming(
  endpoint: EnrolledEndpoint,
  person: SignedInClient,
  version: string,
  use: (disk: { stats(): Promise<DiskStats> }) => Promise<void> = async () => {},
): Promise<void> {
  const launched = await launchedAt(endpoint, person, 'lab')
  const { dir, agent } = endpoint
  const delivery = diskOf(launched)
  const runDir = join(dir, 'run')
  const disk = await useReplicatedDisk({
    site: site.address,
    agent,
    dir,
    runDir,
    launched: { ...launched, delivery },
  })
  const { id } = disk.served.record
  await use({ stats: async () => (await statsOfDisk(runDir, id)).stats })
  expect(await disk.read(0, diskBytes)).toBe(
    await readFile(join(site.state, `disk-${version}.raw`), 'latin1'),
  )
  await disk.finish()
}

interface Machine {
  readonly id: string
  readonly groups: readonly string[]
}

async function timestampVersion(): Promise<number> {
  return decodeMetadata('timestamp', (await metadata('timestamp.json'))!).signed.version
}

function run(...words: string[]): Promise<CliResult> {
  return site.cli(words, { login: 'ada' })
}

function sign(what: string, name: string): Promise<CliResult> {
  return run('image', 'sign', what, '--key', keyOf(name), '--passphrase-file', passphraseOf(name), '--yes')
}

/** @returns what stands on the terminal at the end */
async function signOnTerminal(what: string, name: string, answer: string): Promise<string> {
  const words = ['image', 'sign', what, '--key', keyOf(name), '--passphrase-file', passphraseOf(name)]
  const env = { ...process.env, TRUSTCAST_LOGIN: join(site.state, 'login-ada.json') }
  const command = [trustcast, ...words].join(' ')
  const { stdout, stdin } = spawn('script', ['-qec', command, '/dev/null'], { env })
  let screen = ''
  for await (const bytes of stdout) {
    if (String(bytes).includes('Type yes')) stdin.end(`${answer}\n`)
    screen += String(bytes)
  }
  return screen
}

async function signByToken(what: string): Promise<CliResult> {
  await writeFile(join(site.state, 'pin'), `${token.pin}\n`)
  const words = ['--pkcs11', token.module, '--token', 'dora', '--pin-file', join(site.state, 'pin')]
  return run('image', 'sign', what, ...words, '--yes')
}

async function done(result: Promise<CliResult>): Promise<string> {
  const { code, stdout, stderr } = await result
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

function keyOf(name: string): string {
  return join(site.state, `${name}.key`)
}

function passphraseOf(name: string): string {
  return join(site.state, `${name}.passphrase`)
}

/** A disk of a few chunks. */
async function importVersion(
  version: string,
  beforeRegistered?: (reference: string) => Promise<void>,
): Promise<void> {
  const disk = join(site.state, `disk-${version}.raw`)
  await writeFile(disk, randomBytes(diskBytes))
  await done(run('image', 'import', disk, `${image}:${version}`, '--app', 'writer=/usr/bin/writer'))
  await beforeRegistered?.(`${image}:${version}`)
  await done(run('image', 'register', `${image}:${version}`))
}

/** Recorded while a real program reads all of it. */
async function addBootTrace(reference: string): Promise<void> {
  const trace = join(site.state, 'boot.trace')
  const attach = ['disk', 'attach', reference, '--read-only', '--record', trace]
  const words = [...attach, '--cache', join(site.state, 'recording')]
  const env = { ...process.env, TRUSTCAST_RUN: join(site.state, 'run-recording') }
  await promisify(execFile)('nbdcopy', ['--', '[', trustcast, ...words, ']', 'null:'], { env })
  expect(await done(run('image', 'trace', reference, trace))).toContain('has a boot trace')
}

function directed(
  channel: 'test' | 'production',
  to: Machine = { id: crypto.randomUUID(), groups: ['wards'] },
) {
  return findDirected(store.db)({ image, channel }, to)
}

async function versions(endpoints: readonly Machine[]): Promise<ReadonlySet<unknown>> {
  const found = new Set<unknown>()
  for (const one of endpoints) found.add((await directed('production', one))?.version)
  return found
}

function metadata(file: string): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const path = `/api/v1/releases/metadata/${file}`
    request(new URL(path, site.url), { ca: site.address.ca, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => resolve(response.statusCode === 200 ? Buffer.concat(parts) : undefined))
    })
      .on('error', reject)
      .end()
  })
}

async function endpoint(name: string) {
  const rootBytes = (await metadata('1.root.json'))!
  const releases = await openReleases({
    dir: join(site.state, 'endpoints', name),
    rootBytes,
    fetch: metadata,
  })
  await releases.refresh()
  return releases
}

class SiteFetcher extends BaseFetcher {
  override async fetch(url: string): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const bytes = await metadata(url.slice(url.lastIndexOf('/') + 1))
    if (bytes === undefined) throw new DownloadHTTPError('there is no such file', 404)
    return new Blob([new Uint8Array(bytes)]).stream()
  }
}

async function standardClient(): Promise<Updater> {
  const metadataDir = join(site.state, 'standard-client')
  await mkdir(metadataDir, { recursive: true })
  await writeFile(join(metadataDir, 'root.json'), (await metadata('1.root.json'))!)
  return new Updater({
    metadataDir,
    metadataBaseUrl: `${site.url}/api/v1/releases/metadata`,
    fetcher: new SiteFetcher(),
  })
}
