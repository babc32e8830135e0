import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createLoginKey } from '#apps/cli/login-file.ts'
import { encodeEntry, encodeVerifierKey, leafHash, parseTilePath, signCheckpoint } from '#core/audit/index.ts'
import { treeHash } from '#core/audit/merkle.ts'
import { encodeEntryBundle, encodeHashTile } from '#core/audit/tiles.ts'
import { makePki, type TestPki } from './blob-servers.rig.ts'

/** Copying and verifying a log that is longer than the site lets one sign-in read without a pause. */

const program = join(import.meta.dirname, '../trustcast')
const signer = { name: 'site.example/audit', privateKey: generateKeyPairSync('ed25519').privateKey }
const key = encodeVerifierKey(signer.name, signer.privateKey)
/** Three full tiles of entries, and a partial one. */
const size = 1_000

let undo: AsyncDisposableStack
let folder: string
let copy: string
let entries: Uint8Array[]
/** Paths that the site was asked for and has answered. */
let answered: string[]
/** What the site does with the n-th request instead. */
let instead: (n: number) => { readonly code: string; readonly retryAfter?: number } | undefined

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  folder = await mkdtemp(join(tmpdir(), 'tc-log-'))
  undo.defer(() => rm(folder, { recursive: true }))
  const pki = undo.use(await makePki())
  await writeLogin(await serve(pki), pki.ca)
})
afterAll(() => undo.disposeAsync())

beforeEach(async () => {
  entries = Array.from({ length: size }, (_, i) => entry(i))
  answered = []
  instead = () => undefined
  copy = await mkdtemp(join(folder, 'copy-'))
})

test('a site that reads slower than it is asked is asked again, for a copy and for a verification', async () => {
  instead = (n) => (n % 3 === 0 ? { code: 'TOO_FAST', retryAfter: 0 } : undefined)
  expect(await audit('export', copy)).toMatchObject({ code: 0 })
  expect(await audit('verify', copy, '--key', key)).toMatchObject({ code: 0 })
  expect(await audit('verify', '--key', key)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`holds: ${size} entries`),
  })
  instead = () => ({ code: 'NOT_SIGNED_IN' })
  expect(await audit('export', copy)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('NOT_SIGNED_IN'),
  })
}, 60_000)

test('an export that was interrupted goes on where it was', async () => {
  instead = (n) => (n > 6 ? { code: 'SITE_BROKEN' } : undefined)
  expect(await audit('export', copy)).toMatchObject({ code: 1 })
  expect(await readdir(copy)).toEqual(['.arriving'])
  const before = answered.filter((path) => path.startsWith('tile/'))
  expect(before).toHaveLength(4)

  instead = () => undefined
  answered = []
  expect(await audit('export', copy)).toMatchObject({ code: 0 })
  expect(answered).not.toEqual(expect.arrayContaining([before[0]]))
  expect(answered.filter((path) => path.startsWith('tile/'))).toHaveLength(5)
  expect((await readdir(copy)).toSorted()).toEqual(['checkpoint', 'key', 'tile'])
  expect(await audit('verify', copy, '--key', key)).toMatchObject({ code: 0 })
}, 60_000)

test('what an interrupted export left of another log does not get into a copy', async () => {
  instead = (n) => (n > 6 ? { code: 'SITE_BROKEN' } : undefined)
  await audit('export', copy)
  instead = () => undefined
  entries[0] = entry(-1)
  expect(await audit('export', copy)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/CLI_OTHER_LOG[^]*export again/),
  })
  expect(await readdir(copy)).toEqual([])
  expect(await audit('export', copy)).toMatchObject({ code: 0 })
  expect(await audit('verify', copy, '--key', key)).toMatchObject({ code: 0 })
}, 60_000)

test('of a copy that is there only what it lacks is fetched, and what it holds stays what was signed', async () => {
  await audit('export', copy)
  entries.push(...Array.from({ length: 30 }, (_, i) => entry(size + i)))
  answered = []
  expect(await audit('export', copy)).toMatchObject({ code: 0 })
  // Of 1,030 entries the fourth tile is full, and the fifth new: of both their entries and hashes, and the hashes above.
  expect(answered.filter((path) => path.startsWith('tile/'))).toHaveLength(5)
  expect(await audit('verify', copy, '--key', key)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('1030 entries'),
  })

  const bundle = join(copy, 'tile/entries/000')
  const changed = await readFile(bundle)
  changed[10]! ^= 1
  await writeFile(bundle, changed)
  const checkpoint = await readFile(join(copy, 'checkpoint'), 'utf8')
  entries.push(entry(entries.length))
  expect(await audit('export', copy)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('CLI_OTHER_LOG'),
  })
  expect(await readFile(join(copy, 'checkpoint'), 'utf8')).toBe(checkpoint)
}, 60_000)

function entry(i: number): Uint8Array {
  const at = '2026-11-27T10:00:00.000Z'
  return encodeEntry({ at, kind: 'sign-in', actor: { type: 'person', id: `${i}` }, data: {} })
}

/** The log's file, as the site has it now. */
function fileOf(path: string): Uint8Array | undefined {
  const leaves = entries.map(leafHash)
  if (path === 'key') return Buffer.from(JSON.stringify({ key }))
  if (path === 'checkpoint')
    return Buffer.from(signCheckpoint({ size: BigInt(entries.length), root: treeHash(leaves) }, signer))
  const tile = parseTilePath(path)
  if (tile === undefined) return undefined
  const level = tile.level === 'entries' ? 0 : tile.level
  const span = 256 ** level
  const start = Number(tile.index) * 256 * span
  const end = start + tile.width * span
  return tile.level === 'entries'
    ? encodeEntryBundle(entries.slice(start, end))
    : encodeHashTile(level, leaves.slice(start, end))
}

/** @returns the port of a site that has nothing but a log */
async function serve(pki: TestPki): Promise<number> {
  const [cert, serverKey] = await Promise.all([pki.server.cert, pki.server.key].map((path) => readFile(path)))
  let asked = 0
  const server = createServer({ cert, key: serverKey }, (request, response) => {
    const path = request.url?.replace('/api/v1/audit/', '') ?? ''
    // Each command begins with the key.
    if (path === 'key') asked = 0
    asked += 1
    const refusal = path === 'key' ? undefined : instead(asked)
    const file = refusal === undefined ? fileOf(path) : undefined
    if (file === undefined) {
      response.writeHead(400).end(JSON.stringify({ message: 'no', ...(refusal ?? { code: 'NOT_FOUND' }) }))
      return
    }
    answered.push(path)
    response.end(file)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  undo.defer(() => void server.close())
  return (server.address() as AddressInfo).port
}

async function writeLogin(port: number, ca: string): Promise<void> {
  const { privateKey } = await createLoginKey()
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey('jwk', privateKey)
  const login = { url: `https://localhost:${port}`, ca, cookie: 'none', key: { kty, crv, x, y, d } }
  await writeFile(join(folder, 'login.json'), JSON.stringify(login))
}

async function audit(
  ...words: readonly string[]
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const env = { ...process.env, TRUSTCAST_LOGIN: join(folder, 'login.json') }
  return new Promise((resolve) => {
    execFile(program, ['audit', ...words], { env }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    )
  })
}
