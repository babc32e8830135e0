import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type BlobDigest, digestOf } from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { importDevice, type MemoryStore, memoryStore, noise, openDevice } from './artifact.fixture.ts'
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

/** Imports a disk until its first pack is stored. @returns what the journal had then */
async function interrupted(bytes: Uint8Array, store: MemoryStore) {
  const done: StoredChunk[] = []
  const packSizes = new Map<BlobDigest, number>()
  const ending = new AbortController()
  const record: ImportJournal['record'] = async (pack, size, chunks) => {
    packSizes.set(pack, size)
    done.push(...chunks)
    ending.abort(new Error('killed'))
  }
  const journal = { done: [], packSizes: new Map(), record }
  await expect(
    importDevice(memoryDevice(bytes, false), store, { journal, signal: ending.signal }),
  ).rejects.toThrow('killed')
  expect(store.tags.size).toBe(0)
  expect(done.length).toBeGreaterThan(50)
  return { done, packSizes, record: async () => {} }
}

async function contentOf(manifestDigest: BlobDigest, store: MemoryStore): Promise<Uint8Array> {
  await using image = await openDevice(manifestDigest, [store])
  return await image.device.read(0n, image.manifest.sizeBytes)
}

test('an interrupted import goes on and stores nothing twice', async () => {
  const bytes = noise(300 * chunk, 3)
  const whole = await importDevice(memoryDevice(bytes, false), memoryStore())
  const store = memoryStore()
  const journal = await interrupted(bytes, store)
  const again = await importDevice(memoryDevice(bytes, false), store, { journal })
  const doneBytes = journal.done.reduce((sum, { length }) => sum + length, 0)
  expect(again.bytesStored).toBe(whole.bytesStored - doneBytes)
  expect(again.reusedChunks).toBe(journal.done.length)
  expect(again.manifest.merkleRoot).toBe(whole.manifest.merkleRoot)
  expect(Buffer.compare(await contentOf(again.manifestDigest, store), bytes)).toBe(0)
})

test('a journal of another disk never changes what is imported', async () => {
  const store = memoryStore()
  const journal = await interrupted(noise(300 * chunk, 3), store)
  // Of the first disk some chunks are at other places, and all others are of a second one or zeros.
  const bytes = noise(300 * chunk, 4)
  bytes.set(noise(20 * chunk, 3), 7 * chunk)
  bytes.fill(0, 40 * chunk, 60 * chunk)
  const { manifestDigest, reusedChunks } = await importDevice(memoryDevice(bytes, false), store, { journal })
  expect(reusedChunks).toBe(20)
  expect(Buffer.compare(await contentOf(manifestDigest, store), bytes)).toBe(0)
})

test('what an interrupted import has stored is stored again where it is gone', async () => {
  const bytes = noise(300 * chunk, 3)
  const store = memoryStore()
  const journal = await interrupted(bytes, store)
  for (const pack of journal.packSizes.keys()) store.blobs.delete(pack)
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store, { journal })
  expect(Buffer.compare(await contentOf(manifestDigest, store), bytes)).toBe(0)
})

async function killed(): Promise<void> {
  throw new Error('killed')
}

test('an image gets its name after its maker knows what it is', async () => {
  const store = memoryStore()
  const bytes = disk()
  await expect(importDevice(memoryDevice(bytes, false), store, { beforeTag: killed })).rejects.toThrow(
    'killed',
  )
  expect(store.tags.size).toBe(0)
  const told: BlobDigest[] = []
  const beforeTag = async (digest: BlobDigest): Promise<void> => {
    expect(store.blobs.has(digest)).toBe(true)
    told.push(digest)
  }
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store, { beforeTag })
  const reference = { name: 'disk', version: '1' }
  const trace = { ranges: [{ offset: 100 * chunk, length: chunk, atMs: 5 }] }
  const claimed = await readClaimed(store, reference)
  await expect(addTrace(store, reference, claimed, trace, { beforeTag: killed })).rejects.toThrow('killed')
  expect((await readClaimed(store, reference)).oci.config.digest).toBe(manifestDigest)
  const traced = await addTrace(store, reference, claimed, trace, { beforeTag })
  expect(told).toEqual([manifestDigest, traced])
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
    await expect(image.trace()).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
  }
  const beyond = { ranges: [{ offset: 200 * chunk, length: 1, atMs: 0 }] }
  await expect(addTrace(store, reference, await readClaimed(store, reference), beyond)).rejects.toMatchObject(
    {
      code: expect.stringMatching(/^TRACE_/),
    },
  )
})

/** What would move a cursor over what a signer reads, end its line, or turn it round; as JSON writes it. */
const unseen = ['\\u001b[2K', 'a\\r', 'a\\nb', '\u007f', '\u202ea', '\u2028']

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
    ...unseen.map((one) => text.replace('"applications":{}', `"applications":{"a":{"command":["${one}"]}}`)),
    'null',
    '{}',
  ]) {
    expect(() => decodeManifest(Buffer.from(other))).toThrow(/no image manifest of version 1/)
  }
})

test('what no manifest can say is found before anything is stored', async () => {
  const store = memoryStore()
  const about = {
    chunkBytes: chunk,
    sectorBytes: 512 as const,
    diskId: '00000000-0000-4000-8000-000000000001',
    applications: {},
    createdAt: '2026-01-01T00:00:00Z',
  }
  const command = Array.from({ length: 50 }, () => 'x'.repeat(1000))
  const many = { a: { command }, b: { command } }
  for (const wrong of [
    { chunkBytes: 3 * chunk },
    { applications: { Writer: { command: ['writer'] } } },
    ...unseen.map((one) => ({ applications: { a: { command: [JSON.parse(`"${one}"`)] } } })),
    { applications: many },
  ]) {
    await expect(
      importDevice(memoryDevice(disk(), false), store, { about: { ...about, ...wrong } }),
    ).rejects.toMatchObject({ code: 'ARTIFACT_BAD_INPUT', remedy: expect.any(String) })
  }
  expect(store.blobs.size).toBe(0)
})

test('a manifest with any changes, or cut anywhere, is the one that was written, or refused with a code', async () => {
  const { manifest } = await importDevice(memoryDevice(disk(), false), memoryStore())
  const trace = { digest: 'a'.repeat(64), sizeBytes: 100 }
  const applications = { editor: { command: ['/usr/bin/editor', '--new'] } }
  const whole = encodeManifest({ ...manifest, trace, applications })
  const texts = ['"', '0', '1e9', '-1', 'null', '{}', '[]', '"a":1,', '\\u0000', '}', '\xff', '9'.repeat(30)]
  const edit = fc.record({
    at: fc.nat(whole.length),
    over: fc.nat(12),
    text: fc.oneof(fc.constantFrom(...texts), fc.string({ maxLength: 4 })),
  })
  fc.assert(
    fc.property(
      fc.array(edit, { maxLength: 3 }),
      fc.option(fc.nat(whole.length), { freq: 8 }),
      (edits, end) => {
        let bytes = Buffer.from(whole.subarray(0, end ?? whole.length))
        for (const { at, over, text } of edits)
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.from(text, 'latin1'),
            bytes.subarray(at + over),
          ])
        try {
          expect(Buffer.compare(encodeManifest(decodeManifest(bytes)), bytes)).toBe(0)
        } catch (error) {
          if (!isCoded(error)) throw error
          expect(error.code).toBe('ARTIFACT_BAD_MANIFEST')
        }
      },
    ),
    { numRuns: 1000 },
  )
})
