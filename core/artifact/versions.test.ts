import { expect, test } from 'vitest'
import { digestOf } from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { importDevice, memoryStore, noise, openDevice } from './artifact.fixture.ts'
import {
  addTrace,
  decodeManifest,
  diffImages,
  encodeManifest,
  type ImportJournal,
  readClaimed,
  type StoredChunk,
} from './index.ts'

const chunk = 65_536

function disk(): Uint8Array {
  const bytes = new Uint8Array(200 * chunk)
  bytes.set(noise(40 * chunk, 1), 100 * chunk)
  return bytes
}

test('versions are compared without reading a chunk', async () => {
  const store = memoryStore()
  const first = await importDevice(memoryDevice(disk(), false), store)
  const changed = disk()
  changed.fill(0, 100 * chunk, 102 * chunk)
  changed.set(noise(chunk, 5), 120 * chunk)
  changed.set(noise(chunk, 6), 3 * chunk)
  const second = await importDevice(memoryDevice(changed, false), store, { version: '2' })
  await using older = await openDevice(first.manifestDigest, [store])
  await using newer = await openDevice(second.manifestDigest, [store], {
    reference: { name: 'disk', version: '2' },
  })
  store.reads.length = 0
  const diff = await diffImages(older, newer)
  expect(diff).toMatchObject({
    changedBytes: 2 * chunk,
    clearedBytes: 2 * chunk,
    sameBytes: 196 * chunk,
    isCut: false,
  })
  expect(diff.ranges).toEqual([
    { offset: 3 * chunk, length: chunk },
    { offset: 100 * chunk, length: 2 * chunk },
    { offset: 120 * chunk, length: chunk },
  ])
  expect(older.counts.misses + newer.counts.misses).toBe(0)
})

test('an interrupted import goes on with what it has stored', async () => {
  const store = memoryStore()
  const done = new Map<number, StoredChunk>()
  const packSizes = new Map<`sha256:${string}`, number>()
  const ending = new AbortController()
  const journal: ImportJournal = {
    done,
    packSizes,
    record: async (pack, size, chunks) => {
      packSizes.set(pack, size)
      for (const [number, stored] of chunks) done.set(number, stored)
      ending.abort(new Error('killed'))
    },
  }
  const bytes = new Uint8Array(300 * chunk)
  bytes.set(noise(300 * chunk, 3))
  await expect(
    importDevice(memoryDevice(bytes, false), store, { journal, signal: ending.signal }),
  ).rejects.toThrow()
  expect(store.tags.size).toBe(0)
  const stored = done.size
  expect(stored).toBeGreaterThan(50)
  let sealed = 0
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store, {
    journal: { done, packSizes, record: async () => {} },
    onProgress: () => {
      sealed += 1
    },
  })
  expect(sealed).toBeGreaterThan(0)
  await using image = await openDevice(manifestDigest, [store])
  expect(Buffer.compare(await image.device.read(0n, bytes.length), bytes)).toBe(0)
})

test('a boot trace is read with the image, and only the one that its manifest names', async () => {
  const store = memoryStore()
  await importDevice(memoryDevice(disk(), false), store)
  const reference = { name: 'disk', version: '1' }
  const trace = { ranges: [{ offset: 100 * chunk, length: 2 * chunk, atMs: 5 }] }
  const digest = await addTrace(store, reference, await readClaimed(store, reference), trace)
  {
    await using image = await openDevice(digest, [store])
    expect(await image.trace()).toEqual(trace)
    const { manifest } = image
    const key: `sha256:${string}` = `sha256:${manifest.trace!.digest}`
    const altered = new Uint8Array(store.blobs.get(key)!)
    altered[20]! ^= 1
    store.blobs.set(key, altered)
    await expect(image.trace()).rejects.toMatchObject({ code: 'ARTIFACT_BAD_TRACE' })
  }
  const beyond = { ranges: [{ offset: 200 * chunk, length: 1, atMs: 0 }] }
  await expect(addTrace(store, reference, await readClaimed(store, reference), beyond)).rejects.toMatchObject(
    {
      code: expect.stringMatching(/^TRACE_/),
    },
  )
})

test('a manifest has one form, and another form of the same is refused', async () => {
  const store = memoryStore()
  const { manifest, manifestDigest } = await importDevice(memoryDevice(disk(), false), store)
  const bytes = encodeManifest(manifest)
  expect(digestOf(bytes)).toBe(manifestDigest)
  expect(decodeManifest(bytes)).toEqual(manifest)
  const text = Buffer.from(bytes).toString()
  for (const other of [
    text.replace(/\n$/, ''),
    ` ${text}`,
    text.replace('"name":', '"name" :'),
    text.replace('{', '{"more":1,'),
    text.replace('"schema":1', '"schema":2'),
    'null',
    '{}',
  ]) {
    expect(() => decodeManifest(Buffer.from(other))).toThrow(/no image manifest of version 1/)
  }
})
