import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { blobStoreContract, describeBlob, writableStoreContract } from '#core/blobs/blob-store.contract.ts'
import {
  type BlobDigest,
  type Descriptor,
  digestHex,
  digestOf,
  encodeOciManifest,
  mediaTypes,
} from '#core/blobs/index.ts'
import { type DirectoryStore, openDirectoryStore } from './index.ts'

const run = promisify(execFile)
const rig = join(import.meta.dirname, 'directory.rig.ts')
const day = 86_400_000
const first = { name: 'debian', version: '1' }
const second = { name: 'debian', version: '2' }

let folder: string
let store: DirectoryStore

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobs-'))
  store = await openDirectoryStore(folder, { create: true })
})

afterEach(async () => {
  await store[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function openAlone() {
  const folder = await mkdtemp(join(tmpdir(), 'blobs-contract-'))
  const store = await openDirectoryStore(folder, { create: true })
  return {
    store,
    reader: store,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

blobStoreContract('a folder', openAlone)
writableStoreContract('a folder', openAlone)

async function keepBlob(bytes: Uint8Array, mediaType: string = mediaTypes.pack): Promise<Descriptor> {
  await store.put(digestOf(bytes), bytes)
  return describeBlob(bytes, mediaType)
}

/** An image of two blobs: with its config and manifest the store has four for it. */
async function keepImage(reference: { name: string; version: string }): Promise<BlobDigest> {
  const config = await keepBlob(randomBytes(100), mediaTypes.image)
  const manifest = encodeOciManifest({
    config,
    layers: [await keepBlob(randomBytes(5000)), await keepBlob(randomBytes(6000))],
  })
  await store.tag(reference, manifest)
  return digestOf(manifest)
}

function pathOf(digest: BlobDigest): string {
  return join(folder, 'blobs/sha256', digestHex(digest))
}

async function age(byMs: number): Promise<void> {
  const then = new Date(Date.now() - byMs)
  for (const name of await readdir(join(folder, 'blobs/sha256'))) {
    await utimes(join(folder, 'blobs/sha256', name), then, then)
  }
}

function collect(graceMs: number) {
  return store.collect({ graceMs, now: Date.now() })
}

/** A process of the rig, killed at the end of the test at the latest. */
function start(...args: readonly string[]) {
  const child = spawn(process.execPath, [rig, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const lines: string[] = []
  const reader = createInterface(child.stdout).on('line', (line) => lines.push(line))
  return {
    lines,
    ended,
    nextLine: () => once(reader, 'line'),
    kill: () => child.kill('SIGKILL'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

test('a folder becomes a layout only when asked, and only when it holds nothing else', async () => {
  const other = join(folder, 'deeper/images')
  await expect(openDirectoryStore(other)).rejects.toMatchObject({
    code: 'BLOB_BAD_STORE',
    remedy: expect.any(String),
  })
  await (await openDirectoryStore(other, { create: true }))[Symbol.asyncDispose]()
  expect(await readFile(join(other, 'oci-layout'), 'utf8')).toBe('{"imageLayoutVersion":"1.0.0"}')
  expect(JSON.parse(await readFile(join(other, 'index.json'), 'utf8'))).toEqual({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [],
  })
  await writeFile(join(folder, 'deeper/letter.txt'), 'dear')
  await expect(openDirectoryStore(join(folder, 'deeper'), { create: true })).rejects.toMatchObject({
    code: 'BLOB_BAD_STORE',
  })
  await writeFile(join(other, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}')
  await expect(openDirectoryStore(other)).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
})

test('many processes make the same layout and name images in it at once: nothing is lost', async () => {
  const names = ['a', 'b', 'c', 'd']
  const writers = names.map((name) => start('tag', folder, name, '8'))
  await Promise.all(writers.map(({ ended }) => ended))
  const found = (await store.references()).map(({ name, version }) => `${name}${version}`)
  expect(found.toSorted()).toEqual(
    names.flatMap((name) => Array.from({ length: 8 }, (_, version) => `${name}${version}`)),
  )
})

test('a holder of the lock that is killed hinders nobody', async () => {
  await using writer = start('tag', folder, 'a', '1000')
  await writer.nextLine()
  await sleep(20)
  writer.kill()
  await writer.ended
  await keepImage(first)
  const found = await store.references()
  expect(found).toContainEqual(first)
  for (const version of writer.lines) expect(found).toContainEqual({ name: 'a', version })
})

test('what others wrote into index.json stays as it was', async () => {
  const foreign = {
    mediaType: 'application/vnd.example',
    digest: `sha512:${'0'.repeat(128)}`,
    size: 3,
    'x-y': [1],
  }
  await writeFile(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [foreign], annotations: { a: 'b' } }),
  )
  await keepImage(first)
  await store.untag(first)
  expect(JSON.parse(await readFile(join(folder, 'index.json'), 'utf8'))).toEqual({
    schemaVersion: 2,
    manifests: [foreign],
    annotations: { a: 'b' },
  })
  await expect(collect(0)).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER', remedy: expect.any(String) })
})

test('files stay open between reads, but only so many', async () => {
  const blobs = await Promise.all(
    Array.from({ length: 200 }, (_, index) => keepBlob(randomBytes(50 + index))),
  )
  for (let round = 0; round < 2; round++) {
    await Promise.all(blobs.map(({ digest }) => store.read(digest, 10, 20)))
  }
  const open = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  expect(open.filter((path) => path.startsWith(folder)).length).toBe(128)
  await store[Symbol.asyncDispose]()
  const after = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  expect(after.filter((path) => path.startsWith(folder))).toEqual([])
})

test('a file that fails is opened anew for the next read: its folder may have come back', async () => {
  const { digest } = await keepBlob(randomBytes(100))
  await store.read(digest, 0, 100)
  const handle = await open(pathOf(digest))
  const read = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, 'read')
  await handle.close()
  read.mockRejectedValueOnce(Object.assign(new Error('ESTALE: stale file handle'), { code: 'ESTALE' }))
  await expect(store.read(digest, 0, 100)).rejects.toMatchObject({ code: 'BLOB_UNAVAILABLE' })
  read.mockRestore()
  // Another file of that name, as it is on what was mounted anew.
  const found = randomBytes(100)
  await rm(pathOf(digest))
  await writeFile(pathOf(digest), found)
  expect(Buffer.from(await store.read(digest, 0, 100))).toEqual(found)
})

test('a blob that lost bytes is told from a whole one, and mended by putting it again', async () => {
  const blob = randomBytes(10_000)
  const { digest } = await keepBlob(blob)
  await store.read(digest, 0, 1)
  await writeFile(pathOf(digest), blob.subarray(0, 9000))
  await expect(store.read(digest, 8000, 2000)).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
  await store.put(digest, blob)
  expect(digestOf(await store.read(digest, 0, 10_000))).toBe(digest)
})

test('a manifest that was changed on disk is not handed out', async () => {
  const digest = await keepImage(first)
  const bytes = await readFile(pathOf(digest))
  bytes[bytes.length - 3]! ^= 1
  await writeFile(pathOf(digest), bytes)
  await expect(store.manifest(first)).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
})

test('collecting deletes what no image needs, once it is old enough', async () => {
  await keepImage(first)
  await keepImage(second)
  await keepBlob(randomBytes(7000))
  await age(2 * day)
  const young = await keepBlob(randomBytes(100))
  expect(await collect(day)).toEqual({ needed: 8, young: 1, deleted: 1, freedBytes: 7000 })
  await age(2 * day)
  await store.untag(second)
  // What lost its name just now is unused since now.
  expect(await collect(day)).toEqual({ needed: 4, young: 4, deleted: 1, freedBytes: 100 })
  expect(await store.size(young.digest)).toBeUndefined()
  expect(await collect(0)).toMatchObject({ needed: 4, young: 0, deleted: 4 })
  expect(await readdir(join(folder, 'blobs/sha256'))).toHaveLength(4)
  expect(await readdir(join(folder, '.trustcast/trash'))).toEqual([])
})

test('a blob that was asked for or put again counts as used', async () => {
  const asked = await keepBlob(randomBytes(10))
  const again = randomBytes(20)
  await keepBlob(again)
  await keepBlob(randomBytes(30))
  await age(2 * day)
  expect(await store.size(asked.digest)).toBe(10)
  await keepBlob(again)
  expect(await collect(day)).toMatchObject({ young: 2, deleted: 1, freedBytes: 30 })
})

test('a pinned image outlives its name, for a reader in another process', async () => {
  const digest = await keepImage(first)
  await using reader = start('pin', folder, digest)
  await reader.nextLine()
  await store.untag(first)
  await age(2 * day)
  expect(await collect(0)).toMatchObject({ needed: 4, deleted: 0 })
  reader.kill()
  await reader.ended
  // For a while its pin is believed still.
  expect(await collect(0)).toMatchObject({ needed: 4, deleted: 0 })
  const then = new Date(Date.now() - 301_000)
  for (const pin of await readdir(join(folder, '.trustcast/pins'))) {
    await utimes(join(folder, '.trustcast/pins', pin), then, then)
  }
  expect(await collect(0)).toMatchObject({ needed: 0, deleted: 4 })
})

test('a pin ends when it is disposed of, and cannot be had for what is gone', async () => {
  const digest = await keepImage(first)
  const pin = await store.pin([digest])
  await store.untag(first)
  await age(2 * day)
  expect(await collect(0)).toMatchObject({ needed: 4 })
  await pin[Symbol.asyncDispose]()
  expect(await collect(0)).toMatchObject({ needed: 0, deleted: 4 })
  await expect(store.pin([digest])).rejects.toMatchObject({ code: 'BLOB_MISSING' })
  expect(await readdir(join(folder, '.trustcast/pins'))).toEqual([])
})

test('nothing is collected when an image cannot be read', async () => {
  const digest = await keepImage(first)
  await keepBlob(randomBytes(10))
  const whole = await readFile(pathOf(digest))
  await age(2 * day)
  for (const damaged of [whole.subarray(1), Buffer.from('{}')]) {
    await writeFile(pathOf(digest), damaged)
    await expect(collect(0)).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
  }
  await rm(pathOf(digest))
  await store[Symbol.asyncDispose]()
  store = await openDirectoryStore(folder)
  await expect(collect(0)).rejects.toMatchObject({ code: 'BLOB_MISSING' })
  expect(await readdir(join(folder, 'blobs/sha256'))).toHaveLength(4)
})

test('an image for several platforms keeps all that it names', async () => {
  await keepImage(first)
  const { manifests } = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8'))
  const nested = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }))
  const entry = await keepBlob(nested, mediaTypes.index)
  await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }))
  await age(2 * day)
  expect(await collect(0)).toMatchObject({ needed: 5, deleted: 0 })
})

test('killed at any moment of putting, what was answered is there and nothing is there in part', async () => {
  for (const waitMs of [10, 35, 60, 100]) {
    await using writer = start('put', folder)
    await writer.nextLine()
    await sleep(waitMs)
    writer.kill()
    await writer.ended
    expect(writer.lines.length).toBeGreaterThan(0)
    const names = new Set(await readdir(join(folder, 'blobs/sha256')))
    for (const digest of writer.lines) expect(names).toContain(digest.slice(7))
    for (const name of names) {
      expect(digestOf(await readFile(join(folder, 'blobs/sha256', name)))).toBe(`sha256:${name}`)
    }
  }
  // What was being written goes with a later collection.
  await store.collect({ graceMs: 0, now: Date.now() + 2 * 3_600_000 })
  expect(await readdir(join(folder, '.trustcast/new'))).toEqual([])
  expect(await readdir(join(folder, 'blobs/sha256'))).toEqual([])
})

test('killed at any moment of collecting, images stay whole and the next collection does the rest', async () => {
  await keepImage(first)
  for (const waitMs of [1, 5, 10, 20]) {
    await Promise.all(Array.from({ length: 600 }, () => keepBlob(randomBytes(20))))
    await using collector = start('collect', folder)
    const before = Date.now()
    while ((await readdir(join(folder, 'blobs/sha256'))).length > 590) {
      expect(Date.now() - before).toBeLessThan(50_000)
      await sleep(1)
    }
    await sleep(waitMs)
    collector.kill()
    await collector.ended
  }
  expect(await collect(0)).toMatchObject({ needed: 4 })
  expect(await readdir(join(folder, 'blobs/sha256'))).toHaveLength(4)
  expect(await readdir(join(folder, '.trustcast/trash'))).toEqual([])
  expect(await store.manifest(first)).toBeDefined()
})

test('what a killed collector had taken out comes back when it is needed', async () => {
  const config = await keepBlob(Buffer.from('{}'), mediaTypes.image)
  await mkdir(join(folder, '.trustcast/trash'))
  await rename(pathOf(config.digest), join(folder, '.trustcast/trash', digestHex(config.digest)))
  await store.tag(first, encodeOciManifest({ config, layers: [] }))
  expect(await store.size(config.digest)).toBe(2)
})

test('imports beside collections that spare nothing end whole or say what is missing', async () => {
  await using collector = start('collect', folder)
  await collector.nextLine()
  const named: string[] = []
  for (let version = 0; version < 25; version++) {
    await keepImage({ name: 'debian', version: String(version) }).then(
      () => named.push(String(version)),
      (error: unknown) => expect(error).toMatchObject({ code: 'BLOB_MISSING' }),
    )
  }
  await collector[Symbol.asyncDispose]()
  expect(await store.references()).toHaveLength(named.length)
  for (const version of named) {
    const manifest = JSON.parse(Buffer.from((await store.manifest({ name: 'debian', version }))!).toString())
    for (const { digest, size } of [manifest.config, ...manifest.layers]) {
      expect(digestOf(await store.read(digest, 0, size))).toBe(digest)
    }
  }
})

test('a full disk is BLOB_NO_SPACE and leaves no part of a blob', async () => {
  const script = `mount -t tmpfs -o size=1m none "$1/small" && "$2" -e '
    import("${join(import.meta.dirname, 'index.ts')}").then((m) => m.openDirectoryStore(process.argv[1], { create: true }))
  ' "$1/small" && "$2" "$3" fill "$1/small" && ls "$1/small/.trustcast/new" | wc -l && cd "$1/small/blobs/sha256" && sha256sum * | awk '$1 != $2' | wc -l`
  await mkdir(join(folder, 'small'))
  const { stdout } = await run('unshare', ['-rm', 'sh', '-c', script, 'sh', folder, process.execPath, rig])
  expect(stdout.split('\n').map((line) => line.trim())).toEqual(['BLOB_NO_SPACE', '0', '0', ''])
})

test('a folder that cannot be written is read all the same', async () => {
  const digest = await keepImage(first)
  const script = `mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" "$3" "$1" "$4"`
  const reader = join(import.meta.dirname, 'read-only.rig.ts')
  const { stdout } = await run('unshare', [
    '-rm',
    'sh',
    '-c',
    script,
    'sh',
    folder,
    process.execPath,
    reader,
    digest,
  ])
  expect(JSON.parse(stdout)).toEqual({
    references: ['debian:1'],
    manifest: digest,
    size: (await stat(pathOf(digest))).size,
    refusals: ['BLOB_DENIED', 'BLOB_DENIED', 'BLOB_DENIED', 'BLOB_DENIED'],
  })
})
