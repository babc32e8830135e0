import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeOciManifest, digestOf, encodeOciManifest, mediaTypes } from '#core/blobs/index.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { pageBytes } from '#core/merkle/index.ts'
import {
  importDevice,
  type MemoryStore,
  memoryStore,
  noise,
  openDevice,
  testKey,
} from './artifact.fixture.ts'
import { chunkKeysOf, openChunk, readKnownChunks, sealChunk, sealingKeysOf } from './index.ts'
import { headerBytes, mostPacks, recordBytes, recordsAt } from './index-format.ts'
import type { StoredCache } from './stored-cache.ts'

const chunk = 65_536

/** 300 chunks and a bit: three pages of leaves, with holes, text and noise. */
function disk(seed = 1): Uint8Array {
  const bytes = new Uint8Array(300 * chunk + 1024)
  bytes.set(noise(3 * chunk + 77, seed), 5 * chunk + 11)
  bytes.set(Buffer.alloc(20 * chunk, 'all work and no play '), 130 * chunk)
  bytes.set(noise(500, seed + 1), 300 * chunk + 500)
  return bytes
}

/** Bytes that are written over others: few, and those at which numbers go wrong. */
const edges: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 8 }),
  fc.constantFrom(new Uint8Array(4), new Uint8Array(4).fill(0xff), Uint8Array.of(0x80, 0, 0, 0)),
)

/** What has no code, such as a failed expectation, rises. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => {
      if (isCoded(error)) return error.code
      throw error
    },
  )
}

test('a disk reads as it was imported, at any place, and holes are holes', async () => {
  const bytes = disk()
  const store = memoryStore()
  const { manifestDigest, chunks } = await importDevice(memoryDevice(bytes, false), store)
  expect(chunks).toBe(4 + 20 + 1)
  await using image = await openDevice(manifestDigest, [store])
  const { device } = image
  expect(Buffer.compare(await device.read(0n, bytes.length), bytes)).toBe(0)
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length), fc.nat(3 * chunk), async (from, wanted) => {
      const length = Math.min(wanted, bytes.length - from)
      expect(
        Buffer.compare(await device.read(BigInt(from), length), bytes.subarray(from, from + length)),
      ).toBe(0)
    }),
  )
  const extents = await device.extents(0n, bytes.length)
  expect(extents.map(({ kind, length }) => [kind, length / chunk])).toEqual([
    ['hole', 5],
    ['data', 4],
    ['hole', 121],
    ['data', 20],
    ['hole', 150],
    ['data', 1024 / chunk],
  ])
})

test('importing again stores nothing, and a changed version what has changed', async () => {
  const store = memoryStore()
  const first = await importDevice(memoryDevice(disk(), false), store)
  const known = await readKnownChunks(
    store,
    { name: 'disk', keyId: first.manifest.keyId },
    AbortSignal.any([]),
  )
  const again = await importDevice(memoryDevice(disk(), false), store, { known, version: '2' })
  expect(again.bytesStored).toBe(0)
  expect(again.manifest.merkleRoot).toBe(first.manifest.merkleRoot)
  const changed = disk()
  changed[6 * chunk + 5] = changed[6 * chunk + 5]! ^ 1
  const third = await importDevice(memoryDevice(changed, false), store, { known, version: '3' })
  expect(third.bytesStored).toBeLessThan(chunk + 100)
  await using image = await openDevice(third.manifestDigest, [store], {
    reference: { name: 'disk', version: '3' },
  })
  expect(Buffer.compare(await image.device.read(0n, changed.length), changed)).toBe(0)
})

test('a disk with more data than an image can name is refused before any of it is read', async () => {
  const disk: BlockDevice = {
    ...memoryDevice(new Uint8Array(0), false),
    sizeBytes: 2n ** 43n,
    extents: async (_, length) => [{ kind: 'data', length }],
  }
  await expect(importDevice(disk, memoryStore())).rejects.toMatchObject({
    code: 'ARTIFACT_BAD_INPUT',
    remedy: expect.stringContaining('holes'),
  })
})

test('packs are as large as what a disk holds asks for, not its size', async () => {
  const store = memoryStore()
  const dataBytes = 9 * 2 ** 20
  const thin: BlockDevice = {
    ...memoryDevice(new Uint8Array(0), false),
    sizeBytes: 2n ** 41n,
    extents: async (offset, length) =>
      offset === 0n
        ? [
            { kind: 'data', length: dataBytes },
            { kind: 'hole', length: length - dataBytes },
          ]
        : [{ kind: 'hole', length }],
    read: async (offset, length) => noise(length, Number(offset) + 1),
  }
  const { bytesStored } = await importDevice(thin, store)
  expect(bytesStored).toBeGreaterThan(dataBytes)
  const sizes = [...store.blobs.values()].map(({ length }) => length)
  expect(Math.max(...sizes)).toBeLessThan(5 * 2 ** 20)
})

test('as many packs as an index may name, and the rest of an image, have room in an OCI manifest', () => {
  const layer = { mediaType: mediaTypes.pack, digest: digestOf(new Uint8Array(0)), size: 272_629_760 }
  expect(
    encodeOciManifest({
      artifactType: mediaTypes.image,
      config: layer,
      layers: Array.from({ length: mostPacks + 2 }, () => layer),
    }).length,
  ).toBeGreaterThan(4_180_000)
})

test('nothing that is stored can be read without the key', async () => {
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(disk(), false), store)
  for (const blob of store.blobs.values())
    expect(Buffer.from(blob).includes('all work and no play')).toBe(false)
  expect(await codeOf(openDevice(manifestDigest, [store], { key: new Uint8Array(32) }))).toBe(
    'ARTIFACT_WRONG_KEY',
  )
})

describe('a store that lies', () => {
  /** Every blob that an image needs is altered in every place that is tried: reads are right or fail, and most fail. */
  test('cannot have a flipped bit read', async () => {
    const bytes = disk()
    const honest = memoryStore()
    const { manifestDigest } = await importDevice(memoryDevice(bytes, false), honest)
    await fc.assert(
      fc.asyncProperty(
        fc.nat(honest.blobs.size - 1),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(7),
        async (which, where, bit) => {
          const store = copyOf(honest)
          const [digest, blob] = [...store.blobs][which]!
          const altered = new Uint8Array(blob)
          const at = Math.min(altered.length - 1, Math.floor(where * altered.length))
          altered[at]! ^= 1 << bit
          store.blobs.set(digest, altered)
          await readsRightOrFails(store, manifestDigest, bytes)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('cannot have anything else read by an index of its own', async () => {
    const bytes = new Uint8Array(140 * chunk)
    bytes.set(noise(3 * chunk, 1), 2 * chunk)
    bytes.set(noise(2 * chunk, 2), 130 * chunk)
    const store = memoryStore()
    const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
    const oci = decodeOciManifest(store.tags.get('disk:1')!)
    const [indexLayer, ...packs] = oci.layers
    const whole = store.blobs.get(indexLayer!.digest)!
    const start = recordsAt({ packs: packs.length })
    const fields = fc.oneof(
      fc.nat(headerBytes - 1),
      fc.nat(39).map((within) => headerBytes + within),
      // The root's first child, and places of both pages of leaves.
      fc.nat(7).map((within) => start + pageBytes + within),
      fc.nat(5 * 16).map((within) => start + recordBytes + pageBytes + 2 * 16 + within),
      fc.nat(4 * 16).map((within) => start + 2 * recordBytes + pageBytes + 2 * 16 + within),
      fc.nat(whole.length - 1),
    )
    const edit = fc.record({ at: fields, value: edges })
    const cut = fc.option(fc.nat(whole.length), { freq: 8 })
    const codes = new Set<string>()
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 4 }), cut, fc.boolean(), async (edits, end, isAsSaid) => {
        const index = whole.slice(0, end ?? whole.length)
        for (const { at, value } of edits)
          index.set(value.subarray(0, Math.max(0, index.length - at)), Math.min(at, index.length))
        const view = new DataView(index.buffer)
        const [packCount, records] = index.length < 28 ? [0, 0] : [view.getUint32(20), view.getUint32(24)]
        const size = isAsSaid ? recordsAt({ packs: packCount }) + records * recordBytes : index.length
        const layer = { ...indexLayer!, digest: digestOf(index), size }
        const liar = copyOf(store)
        liar.blobs.set(layer.digest, index)
        liar.tags.set('disk:1', encodeOciManifest({ ...oci, layers: [layer, ...packs] }))
        codes.add(await readsRightOrFails(liar, manifestDigest, bytes))
      }),
      { numRuns: 200 },
    )
    expect([...codes]).toContain('none')
    expect(codes.size).toBeGreaterThan(2)
  })

  test('cannot have more pages and packs of an index read than there are, nor more than an image may have', async () => {
    const store = memoryStore()
    const { manifestDigest } = await importDevice(memoryDevice(disk(), false), store)
    const oci = decodeOciManifest(store.tags.get('disk:1')!)
    const [layer, ...packs] = oci.layers
    for (const [packCount, records] of [
      [packs.length, 0xffff_ffff],
      [0xffff_ffff, 3],
      [packs.length, 4_194_304],
      [65_536, 3],
    ] as const) {
      const liar = copyOf(store)
      const index = new Uint8Array(store.blobs.get(layer!.digest)!)
      new DataView(index.buffer).setUint32(20, packCount)
      new DataView(index.buffer).setUint32(24, records)
      const size = recordsAt({ packs: packCount }) + records * recordBytes
      liar.blobs.set(digestOf(index), index)
      liar.tags.set(
        'disk:1',
        encodeOciManifest({ ...oci, layers: [{ ...layer!, digest: digestOf(index), size }, ...packs] }),
      )
      liar.reads.length = 0
      await expect(readsRightOrFails(liar, manifestDigest, disk())).resolves.toMatch(
        /^(ARTIFACT_BAD_INDEX|BLOB_WRONG_ANSWER)$/,
      )
      expect(liar.reads.every(({ length }) => length <= 65_536 * 40)).toBe(true)
    }
  })

  test('cannot answer with the pages of another place', async () => {
    const bytes = disk()
    const store = memoryStore()
    const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
    const { layers } = decodeOciManifest(store.tags.get('disk:1')!)
    const index = store.blobs.get(layers[0]!.digest)!
    const at = recordsAt({ packs: layers.length - 1 })
    // Record 0 is the root; 1 and 2 are the pages of leaves that hold something.
    const [one, two] = [1, 2].map((number) =>
      index.slice(at + number * recordBytes, at + (number + 1) * recordBytes),
    )
    index.set(two!, at + recordBytes)
    index.set(one!, at + 2 * recordBytes)
    expect(await readsRightOrFails(store, manifestDigest, bytes)).toBe('MERKLE_WRONG_PAGE')
    // The page is where it was, but the root's record says that the first child lies where the second does.
    index.set(one!, at + recordBytes)
    index.set(two!, at + 2 * recordBytes)
    new DataView(index.buffer, index.byteOffset).setUint32(at + pageBytes, 2)
    expect(await readsRightOrFails(store, manifestDigest, bytes)).toBe('MERKLE_WRONG_PAGE')
  })

  test('cannot answer with the image of another version', async () => {
    const store = memoryStore()
    const first = await importDevice(memoryDevice(disk(), false), store)
    await importDevice(memoryDevice(disk(9), false), store, { version: '2' })
    store.tags.set('disk:1', store.tags.get('disk:2')!)
    expect(await codeOf(openDevice(first.manifestDigest, [store]))).toBe('ARTIFACT_OTHER_IMAGE')
    const { config, layers } = decodeOciManifest(store.tags.get('disk:2')!)
    store.tags.set(
      'disk:1',
      encodeOciManifest({ config: { ...config, digest: first.manifestDigest }, layers }),
    )
    expect(await codeOf(openDevice(first.manifestDigest, [store]))).toMatch(
      /^(MERKLE_WRONG_PAGE|BLOB_WRONG_ANSWER)$/,
    )
  })

  test('is left for another one', async () => {
    const bytes = disk()
    const [liar, honest] = [memoryStore('liar'), memoryStore('honest')]
    const { manifestDigest } = await importDevice(memoryDevice(bytes, false), honest)
    // The same image in packs of its own, every one of which it alters.
    await importDevice(memoryDevice(bytes, false), liar, {})
    for (const [digest, blob] of liar.blobs)
      if (blob.length > 100_000)
        liar.blobs.set(
          digest,
          blob.map((byte) => byte ^ 1),
        )
    await using image = await openDevice(manifestDigest, [liar, honest])
    expect(Buffer.compare(await image.device.read(0n, bytes.length), bytes)).toBe(0)
  })
})

test('what this machine keeps is used again, verified, and read anew when it was altered', async () => {
  const bytes = disk()
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
  const kept = new Map<string, Uint8Array>()
  const cache: StoredCache = {
    get: async (name) => kept.get(name)?.slice(),
    has: async (name) => kept.has(name),
    put: (name, value) => kept.set(name, new Uint8Array(value)).has(name),
    drop: (name) => void kept.delete(name),
  }
  const readAll = async (): Promise<Readonly<{ damaged: number; bytesFetched: number }>> => {
    await using image = await openDevice(manifestDigest, [store], { cache })
    expect(Buffer.compare(await image.device.read(0n, bytes.length), bytes)).toBe(0)
    return image.counts
  }
  await readAll()
  store.reads.length = 0
  await readAll()
  expect(store.reads).toEqual([])
  for (const name of Array.from(kept.keys())) {
    const value = new Uint8Array(kept.get(name)!)
    value[value.length >> 1]! ^= 4
    kept.set(name, value)
    await readAll()
  }
})

test('a withdrawn key ends every read, also those under way', async () => {
  const bytes = disk()
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
  await using image = await openDevice(manifestDigest, [store])
  const held = await image.device.read(130n * BigInt(chunk), 100)
  const under = image.device.read(140n * BigInt(chunk), 100)
  image.device.withdraw('the lease has ended')
  expect(await codeOf(under)).toBe('ARTIFACT_KEY_WITHDRAWN')
  expect(await codeOf(image.device.read(130n * BigInt(chunk), 100))).toBe('ARTIFACT_KEY_WITHDRAWN')
  expect(await codeOf(image.device.extents(0n, 100))).toBe('ARTIFACT_KEY_WITHDRAWN')
  // Whoever was answered before keeps it: it may be on its way through a socket.
  expect(Buffer.compare(held, bytes.subarray(130 * chunk, 130 * chunk + 100))).toBe(0)
})

test('many readers of one chunk have it fetched once, neighbours by one request', async () => {
  const bytes = disk()
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
  await using image = await openDevice(manifestDigest, [store], { memoryBytes: 8_388_608 })
  store.reads.length = 0
  await Promise.all(
    Array.from({ length: 50 }, (_, at) => image.device.read(BigInt(5 * chunk + at * 4096), 4096)),
  )
  expect(image.counts.requests).toBe(1)
})

test('chunks that repeat are stored once, and each of them is read', async () => {
  const bytes = new Uint8Array(20 * chunk)
  for (let at = 0; at < 20; at += 2) bytes.set(noise(chunk, 4), at * chunk)
  const store = memoryStore()
  const { manifestDigest, bytesStored, reusedChunks } = await importDevice(memoryDevice(bytes, false), store)
  expect(reusedChunks).toBe(9)
  expect(bytesStored).toBeLessThan(chunk + 100)
  await using image = await openDevice(manifestDigest, [store])
  expect(Buffer.compare(await image.device.read(0n, bytes.length), bytes)).toBe(0)
  expect(image.counts.requests).toBe(1)
})

test('what is fetched ahead and then wanted is fetched once', async () => {
  const bytes = disk()
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
  await using image = await openDevice(manifestDigest, [store], { memoryBytes: 8_388_608 })
  const at = 5 * chunk
  const [kept, warmed, read] = [
    image.device.keep(at, 4 * chunk),
    image.device.warm(at, chunk),
    image.device.read(BigInt(at), 100),
  ]
  expect(Buffer.compare(await read, bytes.subarray(at, at + 100))).toBe(0)
  await Promise.all([kept, warmed])
  expect(image.counts.bytesFetched).toBeLessThan(4 * chunk + 1000)
})

test('chunks that are no chunks are refused, and bombs are not unpacked', async () => {
  const keys = chunkKeysOf(testKey)
  const sealingKeys = sealingKeysOf(testKey)
  const bomb = sealChunk(sealingKeys, new Uint8Array(4_194_304).fill(1))
  expect(bomb.length).toBeLessThan(1000)
  const refusal = { code: 'ARTIFACT_BAD_CHUNK', remedy: expect.any(String) }
  await expect(openChunk(keys, bomb, chunk)).rejects.toMatchObject({
    ...refusal,
    message: expect.stringContaining('zstd frame of 65536 bytes'),
  })
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (junk) => {
      await expect(openChunk(keys, junk, chunk)).rejects.toMatchObject(refusal)
    }),
  )
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 5000 }), async (value) => {
      expect(new Uint8Array(await openChunk(keys, sealChunk(sealingKeys, value), value.length))).toEqual(
        value,
      )
    }),
  )
})

/** @returns the code of the failure, or 'none' when all of it was read as it must be */
async function readsRightOrFails(
  store: MemoryStore,
  manifestDigest: `sha256:${string}`,
  bytes: Uint8Array,
): Promise<string> {
  return codeOf(
    (async () => {
      await using image = await openDevice(manifestDigest, [store])
      for (let at = 0; at < bytes.length; at += 40 * chunk) {
        const length = Math.min(40 * chunk, bytes.length - at)
        expect(
          Buffer.compare(await image.device.read(BigInt(at), length), bytes.subarray(at, at + length)),
        ).toBe(0)
      }
    })(),
  )
}

function copyOf(store: MemoryStore): MemoryStore {
  const copy = memoryStore()
  for (const [digest, blob] of store.blobs) copy.blobs.set(digest, blob)
  for (const [name, manifest] of store.tags) copy.tags.set(name, manifest)
  expect([...copy.blobs].every(([digest, blob]) => digestOf(blob) === digest)).toBe(true)
  return copy
}
