import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { importDevice, noise, testKey } from '#core/artifact/artifact.fixture.ts'
import type { BlobDigest } from '#core/blobs/index.ts'
import { openRaw } from '#core/image/index.ts'
import { memorySource } from '#core/image/memory.fixture.ts'
import { type OpenDisk, type OpenDiskOptions, openDisk } from './open-disk.ts'

/** An opened disk over folders that come and go. */
const content = noise(1_048_576, 1)
let folder: string
let manifestDigest: BlobDigest
const at = (name: string): string => join(folder, name)

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'open-disk-'))
  await using store = await openDirectoryStore(at('store'), { create: true })
  manifestDigest = (await importDevice(openRaw(memorySource(content)), store)).manifestDigest
})

afterEach(() => rm(folder, { recursive: true }))

function open(more: Partial<OpenDiskOptions> = {}): Promise<OpenDisk> {
  return openDisk({
    reference: { name: 'disk', version: '1' },
    manifestDigest,
    stores: [at('store')],
    storeOptions: {},
    key: testKey,
    memoryBytes: 131_072,
    overlay: 'read-only',
    overlayDir: at('overlays'),
    warn: () => {},
    ...more,
  })
}

async function expectWhole({ device }: OpenDisk): Promise<void> {
  expect(Buffer.compare(await device.read(0n, content.length), content)).toBe(0)
}

test('a folder that is not there is passed over, and used once it is', async () => {
  await using disk = await open({ stores: [at('absent'), at('store')] })
  await rename(at('store'), at('absent'))
  await expectWhole(disk)
})

test('a disk of which a part is on this machine waits for a folder that is not there yet', async () => {
  const cache = { dir: at('cache'), maximumBytes: 1 << 30 }
  {
    await using disk = await open({ cache })
    await disk.device.read(0n, 4096)
  }
  await rename(at('store'), at('elsewhere'))
  await using disk = await open({ cache })
  expect(Buffer.compare(await disk.device.read(0n, 4096), content.subarray(0, 4096))).toBe(0)
  const reading = expectWhole(disk)
  setTimeout(() => void rename(at('elsewhere'), at('store')), 300)
  await reading
})

test('that no folder is there is said at once when a disk is opened', async () => {
  await expect(open({ stores: [at('absent')] })).rejects.toMatchObject({ code: 'BLOB_BAD_STORE' })
})

/** Every file of a folder, altered or not. */
async function eachFile(dir: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    await writeFile(path, change(await readFile(path)))
  }
}

/** Of what is long enough to be a chunk, or many, and no table of places. */
function alteredChunk(bytes: Buffer): Buffer {
  return bytes.length < 65_536
    ? bytes
    : Buffer.from(bytes.map((byte, at) => (at === 40_000 ? byte ^ 1 : byte)))
}

test('a disk of which all is kept says so before it is read, and then reads nothing else', async () => {
  const cache = { dir: at('cache'), maximumBytes: 1 << 30 }
  {
    await using disk = await open({ cache })
    expect(disk.stats()).toMatchObject({ percentLocal: 0, hits: 0, misses: 0 })
    await expectWhole(disk)
    expect(disk.stats()).toMatchObject({ percentLocal: 100, hits: 0, misses: 16, damaged: 0 })
    // What is in memory asks the cache for nothing.
    await disk.device.read(BigInt(content.length - 4096), 4096)
    const { hits, misses } = disk.stats()
    await disk.device.read(BigInt(content.length - 4096), 4096)
    expect(disk.stats()).toMatchObject({ hits, misses })
  }
  await using disk = await open({ cache })
  await vi.waitFor(() => expect(disk.stats().percentLocal).toBe(100), { timeout: 20_000 })
  expect(disk.stats()).toMatchObject({ hits: 0, bytesFetched: 0 })
  await expectWhole(disk)
  expect(disk.stats()).toMatchObject({ hits: 16, misses: 0, bytesFetched: 0, requests: 0, damaged: 0 })
})

test('who reads what is kept has nothing fetched, and who waits for a store has what lies around it', async () => {
  const cache = { dir: at('cache'), maximumBytes: 1 << 30 }
  const chunk = 65_536
  {
    await using disk = await open({ cache })
    await disk.copy.keep(0, 2 * chunk)
    await disk.copy.sync()
  }
  await using disk = await open({ cache })
  for (const number of [0, 1]) await disk.device.read(BigInt(number * chunk), 4096)
  expect(disk.stats()).toMatchObject({ hits: 2, misses: 0, bytesFetched: 0 })
  for (const number of [8, 9]) await disk.device.read(BigInt(number * chunk), 4096)
  // Two of four were read: the other two. Not those beside what was kept.
  await vi.waitFor(() => expect(disk.stats()).toMatchObject({ hits: 2, misses: 4 }), { timeout: 20_000 })
})

test('what a cache has no room for is not said to be on this machine', async () => {
  const cache = { dir: at('cache'), maximumBytes: 8 * 65_536 }
  {
    await using disk = await open({ cache })
    await expectWhole(disk)
  }
  await using disk = await open({ cache })
  await vi.waitFor(() => expect(disk.stats().percentLocal).toBeGreaterThan(10), { timeout: 20_000 })
  expect(disk.stats().percentLocal).toBeLessThan(60)
})

test('files of the cache that were altered are counted as damaged, and fetched again', async () => {
  const cache = { dir: at('cache'), maximumBytes: 1 << 30 }
  {
    await using disk = await open({ cache })
    await expectWhole(disk)
  }
  await eachFile(cache.dir, alteredChunk)
  await using disk = await open({ cache })
  await expectWhole(disk)
  expect(disk.stats()).toMatchObject({ damaged: 16, hits: 0, misses: 16, percentLocal: 100 })
  expect(disk.stats().bytesFetched).toBeGreaterThan(content.length)
})

test('chunks that a store altered are counted as damaged, and come from another one', async () => {
  await cp(at('store'), at('honest'), { recursive: true })
  await eachFile(at('store/blobs'), alteredChunk)
  await using disk = await open({ stores: [at('store'), at('honest')] })
  await expectWhole(disk)
  expect(disk.stats().damaged).toBeGreaterThan(0)
})
