import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
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
