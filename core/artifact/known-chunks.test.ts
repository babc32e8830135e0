import { expect, test } from 'vitest'
import {
  type BlobDigest,
  BlobError,
  type BlobErrorCode,
  decodeOciManifest,
  encodeOciManifest,
  mediaTypes,
} from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { importDevice, type MemoryStore, memoryStore, noise, testKey } from './artifact.fixture.ts'
import { keyIdOf, readKnownChunks } from './index.ts'

const chunk = 65_536
const family = { name: 'disk', keyId: keyIdOf(testKey) }
const signal = new AbortController().signal

/** Two versions that share nothing. @returns the blobs of the first */
async function twoVersions(store: MemoryStore) {
  await importDevice(memoryDevice(noise(10 * chunk, 1), false), store)
  await importDevice(memoryDevice(noise(20 * chunk, 2), false), store, { version: '2' })
  const { config, layers } = decodeOciManifest(store.tags.get('disk:1')!)
  const index = layers.find(({ mediaType }) => mediaType === mediaTypes.chunkIndex)!.digest
  return { manifest: config.digest, index }
}

type Blobs = Awaited<ReturnType<typeof twoVersions>>
const bytesOf = (store: MemoryStore, digest: BlobDigest): Uint8Array => store.blobs.get(digest)!

test.each<readonly [string, (store: MemoryStore, blobs: Blobs) => void]>([
  ['whose name leads to no manifest', ({ tags }) => tags.set('disk:1', Buffer.from('{}'))],
  ['without a manifest', ({ blobs }, { manifest }) => blobs.delete(manifest)],
  ['with another manifest', (store, { manifest }) => bytesOf(store, manifest).fill(32)],
  ['without an index', ({ blobs }, { index }) => blobs.delete(index)],
  ['with half an index', ({ blobs }, { index }) => blobs.set(index, blobs.get(index)!.slice(0, 100))],
  ['with another index', (store, { index }) => bytesOf(store, index).fill(1)],
  ['whose index names too many packs', (store, { index }) => bytesOf(store, index).fill(255, 22, 24)],
  ['in whose index one bit has flipped', (store, { index }) => (bytesOf(store, index)[8192 + 7]! ^= 1)],
  ['whose index is too large to be remembered', ({ tags }) => enlargeIndex(tags, 67_108_865)],
])('a version %s is passed over, and that is said', async (_, damage) => {
  const store = memoryStore()
  const blobs = await twoVersions(store)
  expect(await readKnownChunks(store, family, signal)).toMatchObject({
    chunks: { size: 30 },
    passedOver: [],
  })
  damage(store, blobs)
  expect(await readKnownChunks(store, family, signal)).toMatchObject({
    chunks: { size: 20 },
    passedOver: [{ version: '1', why: expect.any(String) }],
  })
})

/** Has the first version's manifest say that its index is so large. */
function enlargeIndex(tags: MemoryStore['tags'], size: number): void {
  const { config, layers } = decodeOciManifest(tags.get('disk:1')!)
  const [index, ...packs] = layers
  tags.set('disk:1', encodeOciManifest({ config, layers: [{ ...index!, size }, ...packs] }))
}

test.each<BlobErrorCode>(['BLOB_UNAVAILABLE', 'BLOB_DENIED'])('%s is no damage', async (code) => {
  const store = memoryStore()
  await twoVersions(store)
  const read = async (): Promise<never> => {
    throw new BlobError(code, 'the store is in trouble')
  }
  await expect(readKnownChunks({ ...store, read }, family, signal)).rejects.toMatchObject({ code })
})

test('only the versions of the image are asked for: not every registry lists all that it has', async () => {
  const store = memoryStore()
  await twoVersions(store)
  const references: MemoryStore['references'] = async (_, name) => {
    if (name !== 'disk') throw new BlobError('BLOB_BAD_STORE', 'the store does not list its repositories')
    return store.references()
  }
  expect((await readKnownChunks({ ...store, references }, family, signal)).chunks.size).toBe(30)
})

test('reading what a store has can be aborted', async () => {
  const store = memoryStore()
  await twoVersions(store)
  const reason = new Error('enough')
  await expect(readKnownChunks(store, family, AbortSignal.abort(reason))).rejects.toBe(reason)
})

test('what is known of a version does not keep its index', async () => {
  const store = memoryStore()
  await twoVersions(store)
  const { chunks } = await readKnownChunks(store, family, signal)
  expect(new Set([...chunks.values()].map(({ digest }) => digest.buffer.byteLength))).toEqual(new Set([32]))
})
