import { spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import {
  createAuthority,
  createIdentityKey,
  issueLeaf,
  serverTls,
  verifyRequest,
} from '#adapters/pki-x509/index.ts'
import { createKeyFile } from '#adapters/release-key-file/index.ts'
import { createLoginKey, writeLogin } from '#apps/cli/login-file.ts'
import type { ProposalDetail } from '#core/api/releases.ts'
import {
  decodeAnyMetadata,
  decodeMetadata,
  metadataFileName,
  proposeRelease,
  proposeRenewal,
  type Repository,
} from '#core/release/index.ts'
import { encodeMetadata, type SignedOf } from '#core/release/metadata.ts'
import {
  type Cast,
  day,
  makeCast,
  makeRepository,
  manifestOf,
  publishBy,
  releaseBy,
  signBy,
} from '#core/release/release.fixture.ts'

/**
 * I4 where it begins: a site that was taken over wants a release of its own signed along. Here the site is ours: it shows
 * whatever it likes to the real command, with its own keys for snapshot and timestamp, and waits for signatures.
 */
vi.setConfig({ testTimeout: 300_000 })
const program = join(import.meta.dirname, '../../trustcast')
const now = Date.now()
const name = 'debian'
const cast: Cast = makeCast()
const expiresAtMs = now + 90 * day

let dir: string
let server: Server
let url: string
let caPem: string
let first: Repository
/** What the site shows. */
let files: Map<string, Uint8Array>
let detail: ProposalDetail
const signatures: string[] = []

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'i4-signing-'))
  const authority = await createAuthority({ dir: join(dir, 'authority'), siteName: 'Lying', now })
  const key = await createIdentityKey()
  const { chainPem } = await issueLeaf(authority, {
    publicKey: verifyRequest(key.requestPem),
    role: 'site',
    id: crypto.randomUUID(),
    dnsNames: ['localhost'],
    usages: 'server',
    lifetimeMs: day,
    now,
  })
  caPem = authority.rootPem
  server = createServer(serverTls({ chainPem, privateKeyPem: key.privateKeyPem }), (request, response) => {
    void answer(request).then(({ status, body }) => response.writeHead(status).end(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `https://localhost:${(server.address() as AddressInfo).port}`
  await createKeyFile({ path: join(dir, 'alice.key'), passphrase: 'the long passphrase of alice' })
  await writeFile(join(dir, 'passphrase'), 'the long passphrase of alice')
  first = await makeRepository(cast, 1, now)
})

afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await rm(dir, { recursive: true })
})

beforeEach(() => {
  files = new Map()
  signatures.length = 0
})

test('an honest proposal is signed, and the first root is shown, kept and not shown again', async () => {
  publish(first)
  propose(release(first, '2'), first)
  const stdout = await signed('honest', '2')
  expect(stdout).toContain(`first root    sha256:${hash('sha256', first.root)}`)
  expect(stdout).toContain(`root: 2 of 3 must sign\n    ${cast.alice.keyId}  alice\n`)
  expect(stdout).toContain('release       debian/2, number 2')
  expect(await signed('honest', '2')).not.toContain('first root')
  expect(signatures).toHaveLength(2)
})

test('a made-up release in what is published and in the proposal is named and not signed', async () => {
  publish(first)
  const made = { ...first, families: new Map([[name, release(first, '2')]]) }
  propose(release(made, '3'), made)
  const stderr = await refused('both', '3', 'RELEASE_MISMATCH')
  expect(stderr).toContain(`nobody has signed debian/2, number 2, sha256:${hash('sha256', manifestOf('2'))}`)
})

test('a made-up release in the proposal alone is named and not signed', async () => {
  publish(first)
  const made = { ...first, families: new Map([[name, release(first, '2')]]) }
  propose(release(made, '3'), first)
  expect(await refused('proposal', '3', 'CLI_OTHER_PROPOSAL')).toContain('debian/2, debian/3')
})

test('a made-up release that the site published with its own keys is not signed', async () => {
  const forged = await signBy(release(first, '2'), cast.site.snapshot, cast.site.timestamp, cast.mallory)
  const made = await withSnapshot({ ...first, families: new Map([[name, forged]]) })
  publish(made)
  propose(release(made, '3'), made)
  await refused('forged', '3', 'RELEASE_BELOW_THRESHOLD')
})

test('who has signed here before is shown neither another root, nor nothing, nor an older state', async () => {
  const second = await releaseBy(cast, first, '2', now)
  publish(second)
  propose(release(second, '3'), second)
  await signed('before', '3')
  signatures.length = 0

  const another = await makeRepository(makeCast(), 3, now)
  files.clear()
  publish(another)
  propose(release(another, '4'), another)
  await refused('before', '4', 'RELEASE_BELOW_THRESHOLD')

  files.clear()
  propose(release({ ...first, families: new Map() }, '1'), undefined)
  await refused('before', '1', 'RELEASE_MISMATCH')

  publish(first)
  propose(release(first, '2'), first)
  await refused('before', '2', 'RELEASE_ROLLBACK')
})

test('what has expired can still be signed anew', async () => {
  const old = await makeRepository(cast, 1, now - 100 * day)
  publish(old)
  propose(proposeRenewal('family', familyOf(old), expiresAtMs), old)
  expect(await signed('expired', undefined)).toContain('releases      1 in all')
})

test('who can open both images sees which partitions change', async () => {
  const account = await accountOf('partitions')
  const manifests = [await imported(account, '1', 0), await imported(account, '2', 300 * 1024)] as const
  const one = proposeRelease({ name, version: '1', manifestBytes: manifests[0], expiresAtMs })
  const families = new Map([[name, await signBy(one, cast.alice, cast.bob)]])
  const repository = await publishBy(cast, await makeRepository(cast, 0, now), { families }, now)
  publish(repository)
  const two = { current: familyOf(repository), name, version: '2', manifestBytes: manifests[1], expiresAtMs }
  propose(proposeRelease(two), repository)
  const stdout = await signed('partitions', '2')
  expect(stdout).toMatch(/inside, since debian\/1:\n.*changed/)
  expect(stdout).toMatch(/^ +1 +.* 1\.0 MiB +(?!0 B)\d/m)
  expect(stdout).toMatch(/^ +2 +.* 2\.0 MiB +0 B$/m)

  // Who cannot open both, or whose store alters a page of one, is told what was not shown.
  const blind = await signed('no-key', '2')
  expect(blind).toMatch(/inside, since debian\/1: cannot be shown: [A-Z]+_[A-Z_]+: ./)
  const blobs = join(account, 'store/blobs/sha256')
  for (const file of await readdir(blobs)) {
    const bytes = await readFile(join(blobs, file))
    if (bytes.length > 65_536 || bytes[0] === 0x7b) continue
    bytes[bytes.length - 1] = bytes.at(-1)! ^ 1
    await writeFile(join(blobs, file), bytes)
  }
  expect(await signed('partitions', '2')).toMatch(
    /inside, since debian\/1: cannot be shown: [A-Z]+_[A-Z_]+: ./,
  )
})

async function answer(request: IncomingMessage): Promise<{ status: number; body: string | Uint8Array }> {
  const path = (request.url ?? '').replace('/api/v1', '')
  const sent = await text(request)
  if (request.method === 'POST') signatures.push(sent)
  const file = files.get(path.replace('/releases/metadata/', ''))
  if (file !== undefined) return { status: 200, body: file }
  const { metadata: _, published: __, ...view } = detail
  if (path === `/releases/proposals/${name}`) return { status: 200, body: JSON.stringify(detail) }
  if (path === `/releases/proposals/${name}/signatures`) return { status: 200, body: JSON.stringify(view) }
  return { status: 404, body: JSON.stringify({ code: 'NOT_FOUND', message: 'not found' }) }
}

/** The site's files, as they are read from it. */
function publish({ root, targets, families, snapshot, timestamp }: Repository): void {
  const all = { root, targets, snapshot, timestamp, ...Object.fromEntries(families) }
  for (const [role, bytes] of Object.entries(all)) {
    if (bytes) files.set(metadataFileName(role, decodeAnyMetadata(bytes).signed.version), bytes)
  }
}

/** What the site shows to who signs. */
function propose(bytes: Uint8Array, published: Repository | undefined): void {
  detail = {
    role: name,
    version: 1,
    proposedBy: 'ada',
    proposedAt: '2026-01-01T00:00:00Z',
    expiresAt: '2026-01-01T00:00:00Z',
    signatures: [],
    missing: 1,
    adds: [],
    metadata: Buffer.from(bytes).toString('base64url'),
    ...(published && { published: Buffer.from(familyOf(published)).toString('base64url') }),
  }
}

function familyOf({ families }: Repository): Uint8Array {
  const bytes = families.get(name)
  if (bytes === undefined) throw new Error('there are no releases')
  return bytes
}

function release({ families }: Repository, version: string): Uint8Array {
  const current = families.get(name)
  return proposeRelease({ current, name, version, manifestBytes: manifestOf(version), expiresAtMs })
}

/** A snapshot and a timestamp that fit, which the site can always make. */
async function withSnapshot(repository: Repository): Promise<Repository> {
  const before = decodeMetadata('snapshot', repository.snapshot!).signed
  const meta = { ...before.meta, [`${name}.json`]: metaOf(familyOf(repository)) }
  const snapshot = await siteSigned('snapshot', { ...before, version: before.version + 1, meta })
  const signed = decodeMetadata('timestamp', repository.timestamp!).signed
  const timestamp = await siteSigned('timestamp', {
    ...signed,
    version: signed.version + 1,
    meta: { 'snapshot.json': metaOf(snapshot) },
  })
  return { ...repository, snapshot, timestamp }
}

function siteSigned<Kind extends 'snapshot' | 'timestamp'>(kind: Kind, signed: SignedOf[Kind]) {
  const metadata = { kind, signed, signatures: [] } as unknown as Parameters<typeof encodeMetadata>[0]
  return signBy(encodeMetadata(metadata), cast.site[kind])
}

function metaOf(bytes: Uint8Array) {
  const { version } = decodeAnyMetadata(bytes).signed
  return { version, length: bytes.length, hashes: { sha256: hash('sha256', bytes) } }
}

/** A disk with two partitions, of which the first has so many bytes of something. */
async function imported(account: string, version: string, changed: number): Promise<Uint8Array> {
  const path = join(account, `${version}.raw`)
  {
    await using file = await open(path, 'wx')
    await file.truncate(6 * 1024 * 1024)
    await file.write(Buffer.alloc(changed, 0x5a), 0, changed, 1024 * 1024)
  }
  const table = 'label: dos\nlabel-id: 0x1\nstart=2048, size=2048, type=83\nstart=4096, size=4096, type=83\n'
  await run(account, ['sfdisk', '--quiet', path], table)
  await run(account, [program, 'image', 'import', path, `${name}:${version}`])
  const blobs = join(account, 'store/blobs/sha256')
  for (const file of await readdir(blobs)) {
    const bytes = await readFile(join(blobs, file))
    if (bytes.length < 65_536 && bytes.includes('"merkleRoot"') && bytes.includes(`"version":"${version}"`))
      return bytes
  }
  throw new Error(`there is no manifest of ${version}`)
}

async function accountOf(person: string): Promise<string> {
  const account = join(dir, person)
  if (await mkdir(account, { recursive: true })) {
    vi.stubEnv('TRUSTCAST_LOGIN', join(account, 'login.json'))
    await writeLogin({ url, ca: caPem }, '__Host-x=y', await createLoginKey())
    vi.unstubAllEnvs()
  }
  return account
}

async function sign(person: string, version: string | undefined) {
  const meant = version === undefined ? name : `${name}:${version}`
  const key = ['--key', join(dir, 'alice.key'), '--passphrase-file', join(dir, 'passphrase')]
  return run(await accountOf(person), [program, 'image', 'sign', meant, ...key, '--yes'])
}

async function signed(person: string, version: string | undefined): Promise<string> {
  const before = signatures.length
  const { code, stdout, stderr } = await sign(person, version)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(signatures).toHaveLength(before + 1)
  return stdout
}

async function refused(person: string, version: string, code: string): Promise<string> {
  const result = await sign(person, version)
  expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(code) })
  expect(signatures).toEqual([])
  return result.stderr
}

async function run(account: string, [command = '', ...words]: readonly string[], input: string = '') {
  const env = {
    ...process.env,
    TRUSTCAST_LOGIN: join(account, 'login.json'),
    TRUSTCAST_IMAGES: join(account, 'images'),
    TRUSTCAST_STORE: join(account, 'store'),
  }
  const child = spawn(command, words, { env })
  child.stdin.end(input)
  const code = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await code, stdout, stderr }
}
