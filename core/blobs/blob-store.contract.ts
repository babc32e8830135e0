import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type BlobDigest,
  type BlobReader,
  type BlobStore,
  type Descriptor,
  digestOf,
  encodeOciManifest,
  type ImageReference,
  mediaTypes,
} from './index.ts'

/** A store of a test's own, empty. Disposing takes everything away. */
export interface StoreUnderTest extends AsyncDisposable {
  readonly reader: BlobReader
  /** Fills what `reader` reads. The same object where the store can be written. */
  readonly store: BlobStore
}

/** What every store of blobs promises. One that is only read is filled through another. */
export function blobStoreContract(what: string, open: () => Promise<StoreUnderTest>): void {
  let kept: StoreUnderTest
  let store: BlobStore
  let reader: BlobReader

  beforeEach(async () => {
    kept = await open()
    ;({ store, reader } = kept)
  })
  afterEach(() => kept[Symbol.asyncDispose]())

  /** Names an image of these layers. Its config is a blob, too. */
  async function keep(reference: ImageReference, ...layers: readonly Uint8Array[]): Promise<Uint8Array> {
    const config = Buffer.from(`{"of":"${reference.name}"}`)
    for (const blob of [config, ...layers]) await store.put(digestOf(blob), blob)
    const manifest = encodeOciManifest({
      artifactType: mediaTypes.image,
      config: describeBlob(config, mediaTypes.image),
      layers: layers.map((layer) => describeBlob(layer, mediaTypes.pack)),
    })
    await store.tag(reference, manifest)
    return manifest
  }

  const desktop = { name: 'debian-desktop', version: '2' }

  describe(`reading from ${what}`, () => {
    test('a blob is read whole and in any range', async () => {
      const blob = randomBytes(100_000)
      await keep(desktop, blob)
      const digest = digestOf(blob)
      await reader.manifest(desktop)
      expect(sha256(await reader.read(digest, 0, blob.length))).toBe(sha256(blob))
      for (const [offset, length] of [
        [0, 1],
        [99_999, 1],
        [4096, 65_536],
        [17, 3],
      ] as const) {
        const bytes = await reader.read(digest, offset, length)
        expect(Buffer.from(bytes).equals(blob.subarray(offset, offset + length))).toBe(true)
      }
    })

    test('many ranges are read at once, in any order', async () => {
      const blobs = Array.from({ length: 3 }, () => randomBytes(1_000_000))
      await keep(desktop, ...blobs)
      const reads = Array.from({ length: 200 }, (_, index) => {
        const blob = blobs[index % 3]!
        const offset = (index * 48_611) % 900_000
        return { blob, offset, length: 1 + ((index * 7919) % 100_000) }
      })
      const read = await Promise.all(
        reads.map(({ blob, offset, length }) => reader.read(digestOf(blob), offset, length)),
      )
      for (const [index, { blob, offset, length }] of reads.entries()) {
        expect(sha256(read[index]!)).toBe(sha256(blob.subarray(offset, offset + length)))
      }
    })

    test('what was read stays as it is while more is read', async () => {
      const blob = randomBytes(300_000)
      await keep(desktop, blob)
      const first = await reader.read(digestOf(blob), 0, 65_536)
      await Promise.all([1, 2, 3].map((at) => reader.read(digestOf(blob), at * 65_536, 65_536)))
      expect(sha256(first)).toBe(sha256(blob.subarray(0, 65_536)))
    })

    test('a blob that is not there is BLOB_MISSING', async () => {
      await keep(desktop, randomBytes(10))
      await expect(reader.read(digestOf(randomBytes(9)), 0, 1)).rejects.toMatchObject({
        code: 'BLOB_MISSING',
      })
    })

    test('a range beyond the end is BLOB_WRONG_ANSWER, not a shorter answer', async () => {
      const blob = randomBytes(1000)
      await keep(desktop, blob)
      for (const [offset, length] of [
        [0, 1001],
        [999, 2],
        [1000, 1],
        [5_000_000_000, 10],
      ] as const) {
        await expect(reader.read(digestOf(blob), offset, length)).rejects.toMatchObject({
          code: 'BLOB_WRONG_ANSWER',
        })
      }
      expect(await reader.read(digestOf(blob), 0, 1000)).toHaveLength(1000)
    })

    test('what is no digest or no name is BLOB_BAD_REFERENCE, wherever it would lead', async () => {
      for (const digest of ['sha256:../../etc/passwd', `sha256:${'A'.repeat(64)}`, '']) {
        await expect(reader.read(digest as BlobDigest, 0, 1)).rejects.toMatchObject({
          code: 'BLOB_BAD_REFERENCE',
        })
      }
      for (const reference of [
        { name: '../x', version: '1' },
        { name: 'x', version: '' },
      ]) {
        await expect(reader.manifest(reference)).rejects.toMatchObject({ code: 'BLOB_BAD_REFERENCE' })
      }
    })

    test('a manifest is read byte for byte; an unknown image is undefined', async () => {
      const manifest = await keep(desktop, randomBytes(10))
      expect(sha256((await reader.manifest(desktop))!)).toBe(sha256(manifest))
      expect(await reader.manifest({ name: 'debian-desktop', version: '3' })).toBeUndefined()
      expect(await reader.manifest({ name: 'windows', version: '2' })).toBeUndefined()
    })

    test('all images are listed', async () => {
      expect(await reader.references()).toEqual([])
      await keep(desktop, randomBytes(10))
      await keep({ name: 'debian-desktop', version: '3.1-rc_1' }, randomBytes(11))
      await keep({ name: 'kiosk', version: '2' }, randomBytes(12))
      const names = (await reader.references()).map(({ name, version }) => `${name} ${version}`)
      expect(names.toSorted()).toEqual(['debian-desktop 2', 'debian-desktop 3.1-rc_1', 'kiosk 2'])
      const desktops = (await reader.references(undefined, desktop.name)).filter(
        ({ name }) => name === desktop.name,
      )
      expect(desktops.map(({ version }) => version).toSorted()).toEqual(['2', '3.1-rc_1'])
    })

    test('an aborted read ends with the reason of its signal, and the next one works', async () => {
      const blob = randomBytes(2_000_000)
      await keep(desktop, blob)
      const reason = new Error('no longer needed')
      await expect(reader.read(digestOf(blob), 0, blob.length, AbortSignal.abort(reason))).rejects.toBe(
        reason,
      )
      const abort = new AbortController()
      const reads = Array.from({ length: 30 }, () =>
        reader.read(digestOf(blob), 0, blob.length, abort.signal),
      )
      setImmediate(() => abort.abort(reason))
      const results = await Promise.allSettled(reads)
      for (const result of results) {
        // What was there already may be handed out.
        if (result.status === 'rejected') expect(result.reason).toBe(reason)
      }
      expect(sha256(await reader.read(digestOf(blob), 0, blob.length))).toBe(sha256(blob))
    })

    test('disposing twice is harmless; reads after it fail', async () => {
      const blob = randomBytes(10)
      await keep(desktop, blob)
      await reader.read(digestOf(blob), 0, 10)
      await reader[Symbol.asyncDispose]()
      await reader[Symbol.asyncDispose]()
      await expect(reader.read(digestOf(blob), 0, 10)).rejects.toThrow('closed')
    })
  })
}

/** What every store that can be written promises beside `blobStoreContract`. */
export function writableStoreContract(what: string, open: () => Promise<StoreUnderTest>): void {
  let kept: StoreUnderTest
  let store: BlobStore

  beforeEach(async () => {
    kept = await open()
    ;({ store } = kept)
  })
  afterEach(() => kept[Symbol.asyncDispose]())

  const first = { name: 'debian-desktop', version: '1' }
  const second = { name: 'debian-desktop', version: '2' }

  async function keepBlob(bytes: Uint8Array): Promise<Descriptor> {
    await store.put(digestOf(bytes), bytes)
    return describeBlob(bytes, mediaTypes.pack)
  }

  describe(`writing to ${what}`, () => {
    test('a blob has a size once it was put, and can be put again', async () => {
      const blob = randomBytes(70_000)
      expect(await store.size(digestOf(blob))).toBeUndefined()
      await store.put(digestOf(blob), blob)
      await store.put(digestOf(blob), blob)
      expect(await store.size(digestOf(blob))).toBe(70_000)
      expect(sha256(await store.read(digestOf(blob), 0, 70_000))).toBe(sha256(blob))
    })

    test('many blobs are put at once, some of them twice', async () => {
      const blobs = Array.from({ length: 40 }, (_, index) => randomBytes(1000 + index * 501))
      await Promise.all([...blobs, ...blobs].map((blob) => store.put(digestOf(blob), blob)))
      for (const blob of blobs) expect(await store.size(digestOf(blob))).toBe(blob.length)
    })

    test('other bytes than the digest says are refused and leave nothing', async () => {
      const blob = randomBytes(5000)
      await expect(store.put(digestOf(blob), randomBytes(5000))).rejects.toMatchObject({
        code: 'BLOB_WRONG_ANSWER',
      })
      expect(await store.size(digestOf(blob))).toBeUndefined()
      await store.put(digestOf(blob), blob)
      expect(await store.size(digestOf(blob))).toBe(5000)
    })

    test('a name can be given to another manifest, and be taken away', async () => {
      const config = await keepBlob(Buffer.from('{}'))
      const a = encodeOciManifest({ config, layers: [await keepBlob(randomBytes(10))] })
      const b = encodeOciManifest({ config, layers: [await keepBlob(randomBytes(11))] })
      await store.tag(first, a)
      await store.tag(second, b)
      await store.tag(first, b)
      expect(sha256((await store.manifest(first))!)).toBe(sha256(b))
      await store.tag(first, a)
      expect(await store.references()).toHaveLength(2)
      expect(await store.untag(first)).toBe(true)
      expect(await store.untag(first)).toBe(false)
      expect(await store.manifest(first)).toBeUndefined()
      expect(await store.references()).toEqual([second])
      expect(sha256((await store.manifest(second))!)).toBe(sha256(b))
    })

    test('an image with a blob that is not there gets no name', async () => {
      const config = await keepBlob(Buffer.from('{}'))
      const layers = [describeBlob(randomBytes(20), mediaTypes.pack)]
      await expect(store.tag(first, encodeOciManifest({ config, layers }))).rejects.toMatchObject({
        code: 'BLOB_MISSING',
      })
      expect(await store.manifest(first)).toBeUndefined()
    })

    test('an image shares blobs with another and keeps them when that one is gone', async () => {
      const blob = randomBytes(3000)
      const shared = await keepBlob(blob)
      const config = await keepBlob(Buffer.from('{}'))
      await store.tag(first, encodeOciManifest({ config, layers: [shared] }))
      await store.tag(
        { name: 'kiosk', version: '1' },
        encodeOciManifest({ config, layers: [shared, await keepBlob(randomBytes(9))] }),
      )
      await store.untag(first)
      expect(sha256(await store.read(shared.digest, 0, 3000))).toBe(sha256(blob))
    })

    test('what is no name gets none', async () => {
      const config = await keepBlob(Buffer.from('{}'))
      const manifest = encodeOciManifest({ config, layers: [] })
      for (const reference of [
        { name: 'a/b', version: '1' },
        { name: 'A', version: '1' },
        { name: 'a', version: 'x y' },
      ]) {
        await expect(store.tag(reference, manifest)).rejects.toMatchObject({ code: 'BLOB_BAD_REFERENCE' })
        await expect(store.untag(reference)).rejects.toMatchObject({ code: 'BLOB_BAD_REFERENCE' })
      }
    })
  })
}

export function describeBlob(bytes: Uint8Array, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
