import { hash, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ReplicaStore } from '#core/replica/index.ts'
import { openReplicaDirectory } from './index.ts'

let dir: string
let store: ReplicaStore
const replica = randomUUID()
const nameOf = (text: string): string => hash('sha256', text)
const [a, b, c] = ['a', 'b', 'c'].map(nameOf) as [string, string, string]
const nothing = { manifest: undefined, names: new Set<string>() }

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tc-replicas-'))
  store = openReplicaDirectory(join(dir, 'replicas'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

test('what was put is there, once, and for its owner alone', async () => {
  expect(await store.piece(replica, a)).toBeUndefined()
  expect(await store.putPiece(replica, a, Buffer.from('one'))).toBe(true)
  expect(await store.putPiece(replica, a, Buffer.from('two'))).toBe(false)
  expect(String(await store.piece(replica, a))).toBe('one')
  expect(await store.pieceBytes(replica, a)).toBe(3)
  expect(await store.pieceBytes(replica, b)).toBeUndefined()
  expect(await store.piece(randomUUID(), a)).toBeUndefined()
  await store.putManifest(replica, b, Buffer.from('list'))
  expect(String(await store.manifest(replica, b))).toBe('list')
  expect((await stat(join(dir, 'replicas', replica))).mode & 0o777).toBe(0o700)
  expect(await readdir(join(dir, 'replicas', replica, '.aside'))).toEqual([])
})

test('of many who put the same piece at once all find it whole', async () => {
  const bytes = Buffer.alloc(262_144, 7)
  await Promise.all(
    Array.from({ length: 8 }, () => openReplicaDirectory(join(dir, 'replicas')).putPiece(replica, a, bytes)),
  )
  expect(await store.piece(replica, a)).toEqual(bytes)
})

test('names that lead elsewhere are refused', async () => {
  for (const name of ['../../x', 'A'.repeat(64), `${a}/`, ''])
    await expect(store.putPiece(replica, name, Buffer.alloc(1))).rejects.toThrow(TypeError)
  await expect(store.remove('..')).rejects.toThrow(TypeError)
})

test('what nobody names and is old is collected; what was put again since is not', async () => {
  for (const name of [a, b, c]) await store.putPiece(replica, name, Buffer.alloc(10))
  await store.putManifest(replica, a, Buffer.alloc(1))
  await store.putManifest(replica, b, Buffer.alloc(1))
  const before = new Date(Date.now() - 60_000)
  expect(await store.collect(replica, nothing, before)).toBe(30)
  const old = new Date(Date.now() - 120_000)
  const root = join(dir, 'replicas', replica)
  for (const name of [a, b, c]) await utimes(join(root, 'pieces', name.slice(0, 2), name), old, old)
  for (const name of [a, b]) await utimes(join(root, 'manifests', name), old, old)
  await store.putPiece(replica, c, Buffer.alloc(10))
  expect(await store.collect(replica, { names: new Set([a]), manifest: a }, before)).toBe(20)
  expect(await store.pieceBytes(replica, b)).toBeUndefined()
  expect(await store.manifest(replica, a)).toBeDefined()
  expect(await store.manifest(replica, b)).toBeUndefined()
})

test('replicas that nobody has touched are told, and are gone when they are removed', async () => {
  await store.putPiece(replica, a, Buffer.alloc(1))
  expect(await store.idle(new Date(Date.now() - 60_000))).toEqual([])
  expect(await store.idle(new Date(Date.now() + 60_000))).toEqual([replica])
  await store.remove(replica)
  expect(await store.idle(new Date(Date.now() + 60_000))).toEqual([])
  expect(await store.piece(replica, a)).toBeUndefined()
})
