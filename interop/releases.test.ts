import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Updater } from 'tuf-js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openReleases, type ReleaseFetch, type Releases } from '#adapters/releases-tuf/index.ts'
import {
  decodeAnyMetadata,
  decodeMetadata,
  metadataFileName,
  parseMetadataFileName,
  proposeFamily,
  proposeRenewal,
  proposeRollback,
  proposeRoot,
  type Repository,
} from '#core/release/index.ts'
import {
  type Cast,
  codeOf,
  day,
  makeCast,
  makeRepository,
  makeSigner,
  manifestOf,
  publishBy,
  releaseBy,
  signBy,
} from '#core/release/release.fixture.ts'

/**
 * A repository that two of three people sign, read over HTTP by tuf-js's own client, which knows nothing of ours, and by
 * our endpoint side; then everything that somebody between them, or the site itself, could try.
 */
const now = Date.now()
const cast: Cast = makeCast()
let dir: string
let server: Server
let url: string
let files: Map<string, Uint8Array>
let first: Repository

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'releases-'))
  files = new Map()
  server = createServer((request, response) => {
    const bytes = files.get(decodeURIComponent(request.url ?? '').slice(1))
    response.writeHead(bytes === undefined ? 404 : 200).end(bytes)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  first = await makeRepository(cast, 1, now)
  show(first)
})

afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await rm(dir, { recursive: true })
})

test('tuf-js reads what two of three people signed, and downloads the manifest', async () => {
  const updater = await standardClient(first)
  const target = await updater.getTargetInfo('debian/1')
  expect(target?.custom).toEqual({ counter: 1 })
  const manifest = manifestOf('1')
  files.set(`debian/${createHash('sha256').update(manifest).digest('hex')}.1`, manifest)
  const path = await updater.downloadTarget(target!, join(dir, 'manifest'), url)
  expect(await readFile(path)).toEqual(manifest)
  expect(await updater.getTargetInfo('debian/2')).toBeUndefined()
})

test('an endpoint reads the same, and follows new releases', async () => {
  const releases = await endpoint()
  await releases.refresh()
  expect(await releases.release('debian', '1')).toMatchObject({
    version: '1',
    contentVersion: '1',
    counter: 1,
  })
  expect(await releases.release('debian', '2')).toBeUndefined()
  expect(await releases.release('ubuntu', '1')).toBeUndefined()
  show(await releaseBy(cast, first, '2', now))
  await releases.refresh()
  expect((await releases.list('debian')).map(({ version }) => version)).toEqual(['2', '1'])
})

test('going back is a new release, for tuf-js as for an endpoint', async () => {
  const second = await releaseBy(cast, first, '2', now)
  const current = second.families.get('debian')!
  const proposed = proposeRollback({
    current,
    name: 'debian',
    to: '1',
    as: '1-again',
    expiresAtMs: now + day,
  })
  const back = await publishBy(
    cast,
    second,
    { families: new Map([['debian', await signBy(proposed, cast.alice, cast.bob)]]) },
    now,
  )
  show(back)
  const target = await (await standardClient(first)).getTargetInfo('debian/1-again')
  expect(target?.custom).toEqual({ counter: 3, content: 'debian/1' })
  const releases = await endpoint()
  await releases.refresh()
  expect(await releases.release('debian', '1-again')).toMatchObject({ contentVersion: '1', counter: 3 })
})

test('without the site, what was learnt serves until its time is up', async () => {
  await (await endpoint()).refresh()
  const offline = await endpoint('', async () => {
    throw new Error('no network')
  })
  // The image's own releases were never read: they cannot be known.
  await expect(offline.list('debian')).rejects.toThrow('no network')
  await (await endpoint()).list('debian')
  expect(await offline.list('debian')).toHaveLength(1)
  await expect(offline.refresh()).rejects.toThrow('no network')
  expect(await offline.list('debian')).toHaveLength(1)
})

test('the first root is the one that was pinned', async () => {
  const other = await makeRepository(makeCast(), 1, now)
  const rootDigest = createHash('sha256').update(first.root).digest('hex')
  const open = (rootBytes: Uint8Array) => openReleases({ dir, rootBytes, rootDigest, fetch: fetchFile })
  expect(await codeOf(() => open(other.root))).toBe('RELEASE_OTHER_ROOT')
  const releases = await open(first.root)
  await releases.refresh()
  // A whole repository of somebody else's keys.
  files.clear()
  show(other)
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_BELOW_THRESHOLD')
})

test('the root and the keys of releases change hands; who was away for long follows', async () => {
  const releases = await endpoint()
  await releases.refresh()
  const dave = makeSigner('dave', 'p256')
  const erin = makeSigner('erin')
  const keys = [cast.carol, dave, erin].map(({ publicKey }) => publicKey)
  const { snapshot, timestamp } = cast.site
  const rootOf = (current: Uint8Array) =>
    proposeRoot({
      current,
      root: { keys, threshold: 2 },
      targets: { keys, threshold: 2 },
      snapshot: snapshot.publicKey,
      timestamp: timestamp.publicKey,
      expiresAtMs: now + 365 * day,
    })
  const family = { current: first.targets, name: 'debian', keys, threshold: 2, expiresAtMs: now + 90 * day }
  const rotated = await publishBy(
    cast,
    first,
    {
      root: await signBy(rootOf(first.root), cast.alice, cast.carol, dave),
      targets: await signBy(proposeFamily(family), dave, erin),
      families: new Map([
        [
          'debian',
          await signBy(
            proposeRenewal('family', first.families.get('debian')!, now + 90 * day),
            cast.carol,
            erin,
          ),
        ],
      ]),
    },
    now,
  )
  show(rotated)
  const again = await publishBy(cast, rotated, { root: await signBy(rootOf(rotated.root), dave, erin) }, now)
  show(again)
  await releases.refresh()
  expect(await releases.release('debian', '1')).toMatchObject({ counter: 1 })
  expect((await readdir(dir)).filter((file) => file.endsWith('.root.json'))).toEqual([
    '2.root.json',
    '3.root.json',
  ])
  expect(await (await standardClient(first)).getTargetInfo('debian/1')).toBeDefined()

  // The new root without the old keys: nobody follows.
  files.set('4.root.json', await signBy(rootOf(again.root), cast.alice, cast.bob))
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_BELOW_THRESHOLD')
  files.set('4.root.json', files.get('3.root.json')!)
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_VERSION_GAP')
})

test('one signature too few is refused, by tuf-js and by an endpoint', async () => {
  const second = await releaseBy(cast, first, '2', now)
  for (const role of ['targets', 'debian']) {
    show(second)
    const bytes = role === 'debian' ? second.families.get('debian')! : second.targets!
    const metadata = decodeAnyMetadata(bytes)
    const [signature] = metadata.signatures
    await forge(
      second,
      role,
      Buffer.from(JSON.stringify(sorted({ signatures: [signature], signed: metadata.signed }))),
    )
    expect(await refusalOf(await endpoint(role))).toBe('RELEASE_BELOW_THRESHOLD')
    await expect((await standardClient(first)).getTargetInfo('debian/2')).rejects.toThrow(
      /signed by 1\/2 keys/,
    )
  }
})

test('a site that signs a release with its own keys is refused', async () => {
  const forged = decodeMetadata('family', first.families.get('debian')!)
  const signed = { ...forged.signed, version: 3 }
  const unsigned = Buffer.from(JSON.stringify(sorted({ signatures: [], signed })))
  const bytes = await signBy(unsigned, cast.site.snapshot, cast.site.timestamp, cast.mallory)
  await forge(first, 'debian', bytes)
  expect(await refusalOf(await endpoint())).toBe('RELEASE_BELOW_THRESHOLD')
})

test('an older timestamp or snapshot is refused, also by an endpoint that was started again', async () => {
  const old = new Map(files)
  await (await endpoint()).refresh()
  const second = await releaseBy(cast, first, '2', now)
  show(second)
  await (await endpoint()).list('debian')
  const releases = await endpoint()
  await releases.refresh()
  files = old
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_ROLLBACK')
  const restarted = await endpoint()
  expect(await codeOf(() => restarted.refresh())).toBe('RELEASE_ROLLBACK')
})

test('what was kept is a floor even after its time is up', async () => {
  const past = now - 30 * day
  const before = await makeRepository(cast, 1, past)
  const after = await releaseBy(cast, before, '2', past)
  await mkdir(join(dir, 'endpoint'))
  for (const [file, bytes] of [
    ['timestamp.json', after.timestamp!],
    ['snapshot.json', after.snapshot!],
  ] as const) {
    await writeFile(join(dir, 'endpoint', file), bytes)
  }
  files.clear()
  show(before)
  const releases = await openReleases({
    dir: join(dir, 'endpoint'),
    rootBytes: before.root,
    fetch: fetchFile,
  })
  // Freshly signed by the site, but with an older snapshot, or with an image's older releases.
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_ROLLBACK')
  const renewed = await publishBy(cast, before, {}, now)
  files.clear()
  show({ ...renewed, timestamp: await bumped(renewed.timestamp!, 'timestamp') })
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_ROLLBACK')
})

test('metadata that is held back until its time is up is refused', async () => {
  const old = await makeRepository(cast, 1, now - 2 * day)
  files.clear()
  show(old)
  const releases = await openReleases({ dir: join(dir, 'frozen'), rootBytes: old.root, fetch: fetchFile })
  expect(await codeOf(() => releases.refresh())).toBe('RELEASE_EXPIRED')
  // Twice the same: kept and shown again.
  await writeFile(join(dir, 'timestamp.json'), old.timestamp!)
  const kept = await openReleases({ dir, rootBytes: old.root, fetch: fetchFile })
  expect(await codeOf(() => kept.refresh())).toBe('RELEASE_EXPIRED')
})

test('files of different times are not mixed', async () => {
  const second = await releaseBy(cast, first, '2', now)
  show(second)
  const version = decodeMetadata('family', second.families.get('debian')!).signed.version
  files.set(metadataFileName('debian', version), first.families.get('debian')!)
  expect(await refusalOf(await endpoint('a'))).toBe('RELEASE_MISMATCH')
  const snapshotVersion = decodeMetadata('snapshot', second.snapshot!).signed.version
  show(second)
  files.set(metadataFileName('snapshot', snapshotVersion), first.snapshot!)
  expect(await refusalOf(await endpoint('b'))).toBe('RELEASE_MISMATCH')
  files.delete(metadataFileName('snapshot', snapshotVersion))
  expect(await refusalOf(await endpoint('c'))).toBe('RELEASE_MISMATCH')
})

test('a kept file that was altered on disk is fetched again', async () => {
  const second = await releaseBy(cast, first, '2', now)
  show(second)
  await (await endpoint()).list('debian')
  for (const file of ['timestamp.json', 'snapshot.json', 'targets.json', 'images/debian.json']) {
    const bytes = await readFile(join(dir, file))
    for (const damaged of [
      bytes.subarray(0, 100),
      Buffer.from(bytes.toString().replace('"version":', '"version":1')),
    ]) {
      await writeFile(join(dir, file), damaged)
      const releases = await endpoint()
      await releases.refresh()
      expect(await releases.list('debian')).toHaveLength(2)
      expect(await readFile(join(dir, file))).toEqual(bytes)
    }
  }
})

test('whatever byte of whatever file is flipped, nothing false is believed', async () => {
  show(await releaseBy(cast, first, '2', now))
  const honest = new Map(files)
  let round = 0
  for (const [file, bytes] of honest) {
    for (let index = 0; index < 12; index++) {
      const at = (index * 7919 + 13) % bytes.length
      files = new Map(honest)
      files.set(
        file,
        Uint8Array.from(bytes, (byte, position) => (position === at ? byte ^ (1 << (index % 8)) : byte)),
      )
      const releases = await openReleases({
        dir: join(dir, String(round++)),
        rootBytes: first.root,
        fetch: fetchFile,
      })
      try {
        await releases.refresh()
        for (const { version, counter } of await releases.list('debian'))
          expect(String(counter)).toBe(version)
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^RELEASE_/)
      }
    }
  }
})

/** Publishes: from now on the server shows this; files of before stay, as they do on a site. */
function show({ root, targets, families, snapshot, timestamp }: Repository): void {
  const all = { root, targets, snapshot, timestamp, ...Object.fromEntries(families) }
  for (const [role, bytes] of Object.entries(all)) {
    if (bytes) files.set(metadataFileName(role, decodeAnyMetadata(bytes).signed.version), bytes)
  }
}

/** Shows a role's forged metadata as a site could that holds the online keys: with a snapshot that fits. */
async function forge(repository: Repository, role: string, bytes: Uint8Array): Promise<void> {
  const { signed } = decodeMetadata('snapshot', repository.snapshot!)
  const version = (JSON.parse(Buffer.from(bytes).toString()) as { signed: { version: number } }).signed
    .version
  const meta = { ...signed.meta, [`${role}.json`]: metaOf(version, bytes) }
  const snapshot = await siteSigned({ ...signed, version: signed.version + 1, meta }, 'snapshot')
  files.set(metadataFileName(role, version), bytes)
  files.set(metadataFileName('snapshot', signed.version + 1), snapshot)
  const timestamp = decodeMetadata('timestamp', repository.timestamp!).signed
  const snapshotMeta = { 'snapshot.json': metaOf(signed.version + 1, snapshot) }
  files.set(
    'timestamp.json',
    await siteSigned({ ...timestamp, version: timestamp.version + 1, meta: snapshotMeta }, 'timestamp'),
  )
}

function metaOf(version: number, bytes: Uint8Array) {
  return {
    version,
    length: bytes.length,
    hashes: { sha256: createHash('sha256').update(bytes).digest('hex') },
  }
}

function siteSigned(signed: object, role: 'snapshot' | 'timestamp'): Promise<Uint8Array> {
  return signBy(Buffer.from(JSON.stringify(sorted({ signatures: [], signed }))), cast.site[role])
}

async function bumped(bytes: Uint8Array, role: 'timestamp'): Promise<Uint8Array> {
  const { signed } = decodeMetadata(role, bytes)
  return siteSigned({ ...signed, version: signed.version + 100 }, role)
}

/** JSON in which names are sorted: the form that our reader takes. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  )
}

const fetchFile: ReleaseFetch = async (file, maxBytes) => {
  expect(parseMetadataFileName(file)).toBeDefined()
  const response = await fetch(`${url}/${file}`)
  if (response.status === 404) return undefined
  const bytes = new Uint8Array(await response.arrayBuffer())
  expect(bytes.length).toBeLessThanOrEqual(maxBytes)
  return bytes
}

function endpoint(folder: string = '', source: ReleaseFetch = fetchFile): Promise<Releases> {
  return openReleases({ dir: join(dir, folder), rootBytes: first.root, fetch: source })
}

function refusalOf(releases: Releases): Promise<string> {
  return codeOf(async () => {
    await releases.refresh()
    await releases.list('debian')
  })
}

async function standardClient(repository: Repository): Promise<Updater> {
  const metadataDir = await mkdtemp(join(dir, 'tuf-js-'))
  await writeFile(join(metadataDir, 'root.json'), repository.root)
  return new Updater({ metadataDir, metadataBaseUrl: url, targetDir: metadataDir, targetBaseUrl: url })
}
