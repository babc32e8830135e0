import { randomBytes } from 'node:crypto'
import { copyFile, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { type OpenDisk, type OpenDiskOptions, openDisk } from '#apps/endpoint/disk/open-disk.ts'
import { importDevice, noise, testKey } from '#core/artifact/artifact.fixture.ts'
import { readKnownChunks } from '#core/artifact/index.ts'
import { placeAt, recordBytes, recordsAt } from '#core/artifact/index-format.ts'
import { type BlobDigest, decodeOciManifest, mediaTypes, type OciManifest } from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { pageBytes } from '#core/merkle/index.ts'

/**
 * I1 and I3: whoever keeps an image, in a store or in this machine's cache, tries to have something else read. Every
 * read is of the bytes that were imported, or fails with a code.
 */

const chunk = 65_536
const size = 400 * chunk
const reference = { name: 'disk', version: '1' }

let folder: string
let original: Uint8Array
let manifestDigest: BlobDigest
let images: { readonly [version: string]: OciManifest }
const store = (): string => join(folder, 'store')
const blobPath = (digest: BlobDigest): string => join(store(), 'blobs/sha256', digest.slice(7))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-i1-'))
  original = new Uint8Array(size)
  original.set(noise(120 * chunk, 1), 30 * chunk)
  original.set(Buffer.alloc(60 * chunk, 'a known text, again and again; '), 200 * chunk)
  await using directory = await openDirectoryStore(store(), { create: true })
  const first = await importDevice(memoryDevice(original, false), directory)
  manifestDigest = first.manifestDigest
  const newer = new Uint8Array(original)
  newer.set(noise(50 * chunk, 2), 60 * chunk)
  const known = await readKnownChunks(
    directory,
    { name: 'disk', keyId: first.manifest.keyId },
    AbortSignal.any([]),
  )
  await importDevice(memoryDevice(newer, false), directory, { version: '2', known })
  const read = async (version: string): Promise<OciManifest> =>
    decodeOciManifest((await directory.manifest({ ...reference, version }))!)
  images = { '1': await read('1'), '2': await read('2') }
})
afterAll(() => rm(folder, { recursive: true }))

describe('a store', () => {
  test('that flips a bit anywhere is found out', async () => {
    const blobs = [images['1']!.config, ...images['1']!.layers]
    const codes = new Set<string>()
    for (const { digest, size: length } of blobs) {
      for (let where = 0; where < 1; where += 0.07) {
        await using _ = await altered(digest, (bytes) => {
          const at = Math.min(length - 1, Math.floor(where * length))
          bytes[at]! ^= 1 << (at % 8)
        })
        codes.add(await readAll())
      }
    }
    // Bits that say where something is, or fill up, may be flipped without harm.
    expect([...codes].filter((code) => code !== 'right').toSorted()).toEqual(
      expect.arrayContaining(['ARTIFACT_WRONG_CHUNK', 'MERKLE_WRONG_PAGE']),
    )
  })

  test('that exchanges two packs, or cuts one off, is found out', async () => {
    const packs = images['1']!.layers.filter(({ mediaType }) => mediaType === mediaTypes.pack)
    const [a, b] = packs.map(({ digest }) => blobPath(digest))
    await rename(a!, `${a}.kept`)
    await copyFile(b!, a!)
    expect(await readAll()).not.toBe('right')
    await rename(`${a}.kept`, a!)
    expect(await readAll()).toBe('right')
    await using _ = await altered(packs[0]!.digest, (bytes) => bytes.subarray(0, bytes.length - 1))
    expect(await readAll()).not.toBe('right')
  })

  test('that swaps two chunks, or says of each that it lies where the other does, is found out', async () => {
    const index = indexOf(images['1']!)
    const packs = images['1']!.layers.filter(({ mediaType }) => mediaType === mediaTypes.pack)
    const leaf = recordsAt({ packs: packs.length }) + recordBytes
    const record = (await readFile(blobPath(index.digest))).subarray(leaf, leaf + recordBytes)
    // Noise of the disk: none of it compresses, so that all of these chunks are equally long.
    const [a, b] = [40, 41]
    const [one, two] = [placeAt(record, a), placeAt(record, b)]
    expect(one).toMatchObject({ pack: two.pack, length: two.length })
    expect(one.length).toBeGreaterThan(chunk)
    {
      await using _ = await altered(packs[one.pack]!.digest, (bytes) =>
        swap(bytes, one.offset, two.offset, one.length),
      )
      expect(await readAll()).toBe('ARTIFACT_WRONG_CHUNK')
    }
    const [digests, places] = [leaf, leaf + pageBytes]
    const swapPlaces = (bytes: Buffer): void => swap(bytes, places + a * 16, places + b * 16, 16)
    {
      await using _ = await altered(index.digest, swapPlaces)
      expect(await readAll()).toBe('ARTIFACT_WRONG_CHUNK')
    }
    {
      await using _ = await altered(index.digest, (bytes) => {
        swapPlaces(bytes)
        swap(bytes, digests + a * 32, digests + b * 32, 32)
      })
      expect(await readAll()).toBe('MERKLE_WRONG_PAGE')
    }
    expect(await readAll()).toBe('right')
  })

  test('that shows the index, or all, of another version is found out', async () => {
    const [old, newer] = [images['1']!, images['2']!]
    {
      const bytes = await readFile(blobPath(indexOf(newer).digest))
      await using _ = await altered(indexOf(old).digest, () => bytes)
      expect(await readAll()).not.toBe('right')
    }
    const path = join(store(), 'index.json')
    const index = await readFile(path, 'utf8')
    const swapped = index
      .replace('"disk:1"', '"disk:x"')
      .replace('"disk:2"', '"disk:1"')
      .replace('"disk:x"', '"disk:2"')
    await writeFile(path, swapped)
    expect(await readAll()).toBe('ARTIFACT_OTHER_IMAGE')
    await writeFile(path, index)
    expect(await readAll()).toBe('right')
  })

  test('cannot be told by what it keeps that a disk holds something known', async () => {
    for (const name of await readdir(join(store(), 'blobs/sha256'))) {
      expect((await readFile(join(store(), 'blobs/sha256', name))).includes('a known text')).toBe(false)
    }
  })
})

test('files of the cache that are altered, cut off, exchanged or replaced are fetched again', async () => {
  const cache = join(folder, 'cache')
  expect(await readAll(cache)).toBe('right')
  const files = (await readdir(cache, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  expect(files.length).toBeGreaterThan(100)
  const spoil: readonly ((bytes: Buffer) => Uint8Array)[] = [
    (bytes) => bytes.with(Math.floor(bytes.length / 2), bytes[Math.floor(bytes.length / 2)]! ^ 1),
    (bytes) => bytes.with(bytes.length - 1, bytes.at(-1)! ^ 128),
    (bytes) => bytes.subarray(0, bytes.length - 7),
    () => randomBytes(100),
    () => new Uint8Array(0),
  ]
  for (const [number, way] of spoil.entries()) {
    for (const file of files.filter((_, index) => index % spoil.length === number)) {
      await writeFile(file, way(await readFile(file)))
    }
  }
  expect(await readAll(cache)).toBe('right')
  const [a, b] = files
  await copyFile(a!, `${a}.other`)
  await copyFile(b!, a!)
  await rename(`${a}.other`, b!)
  expect(await readAll(cache)).toBe('right')
})

test('the key of one image family opens no image of another, and nothing of the disk is read', async () => {
  await using directory = await openDirectoryStore(store())
  const [key, reference] = [new Uint8Array(32).fill(9), { name: 'other', version: '1' }]
  const disk = memoryDevice(original.slice(0, 50 * chunk), false)
  const other = { reference, ...(await importDevice(disk, directory, { key, reference })) }
  expect(await opens(key, other)).toBe('opened')
  // Only manifests are left: whoever goes on to the disk fails with another code.
  const manifests = [images['1']!, decodeOciManifest((await directory.manifest(reference))!)]
  const blobs = manifests.flatMap(({ layers }) => layers.map(({ digest }) => blobPath(digest)))
  for (const path of blobs) await rename(path, `${path}.away`)
  try {
    expect(await opens(key)).toBe('ARTIFACT_WRONG_KEY')
    expect(await opens(testKey, other)).toBe('ARTIFACT_WRONG_KEY')
    expect(await opens(testKey)).toBe('BLOB_MISSING')
  } finally {
    for (const path of blobs) await rename(`${path}.away`, path)
  }
})

test('after its key was withdrawn nothing reads', async () => {
  await using disk = await opened(undefined)
  await disk.device.read(30n * BigInt(chunk), 4096)
  await disk.withdraw(Object.assign(new Error('withdrawn'), { code: 'LEASE_WITHDRAWN' }))
  await expect(disk.device.read(30n * BigInt(chunk), 4096)).rejects.toMatchObject({ code: 'LEASE_WITHDRAWN' })
})

function indexOf({ layers }: OciManifest) {
  return layers.find(({ mediaType }) => mediaType === mediaTypes.chunkIndex)!
}

interface StoredImage extends Pick<OpenDiskOptions, 'reference' | 'manifestDigest'> {}

async function opened(
  cache: string | undefined,
  key = testKey,
  image: StoredImage = { reference, manifestDigest },
): Promise<OpenDisk> {
  return openDisk({
    reference: image.reference,
    manifestDigest: image.manifestDigest,
    stores: [store()],
    storeOptions: {},
    key,
    ...(cache !== undefined && { cache: { dir: cache, maximumBytes: 1e9 } }),
    memoryBytes: 1_048_576,
    overlay: 'read-only',
    overlayDir: join(folder, 'overlays'),
    warn: () => {},
  })
}

/** @returns `opened`, or the code of what went wrong */
async function opens(key: Uint8Array, image?: StoredImage): Promise<string> {
  try {
    await using _ = await opened(undefined, key, image)
    return 'opened'
  } catch (error) {
    if (isCoded(error)) return error.code
    throw error
  }
}

/** @returns `right`, or the code of what went wrong; anything read that is not what was imported fails the test */
async function readAll(cache?: string, key = testKey): Promise<string> {
  try {
    await using disk = await opened(cache, key)
    for (let at = 0; at < size; at += 20 * chunk) {
      const bytes = await disk.device.read(BigInt(at), 20 * chunk)
      expect(Buffer.compare(bytes, original.subarray(at, at + 20 * chunk)), `at ${at}`).toBe(0)
    }
    return 'right'
  } catch (error) {
    if (isCoded(error)) return error.code
    throw error
  }
}

/** Exchanges two parts that do not overlap. */
function swap(bytes: Buffer, a: number, b: number, length: number): void {
  const kept = Buffer.from(bytes.subarray(a, a + length))
  bytes.copyWithin(a, b, b + length)
  kept.copy(bytes, b)
}

/** A blob that is something else until it is disposed of. */
async function altered(
  digest: BlobDigest,
  change: (bytes: Buffer) => Uint8Array | void,
): Promise<AsyncDisposable> {
  const path = blobPath(digest)
  const bytes = await readFile(path)
  const next = Buffer.from(bytes)
  await overwrite(path, change(next) ?? next)
  return { [Symbol.asyncDispose]: () => overwrite(path, bytes) }
}

async function overwrite(path: string, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'w')
  await file.writeFile(bytes)
}
