import {
  type BlobDigest,
  type BlobStore,
  digestOf,
  encodeOciManifest,
  type ImageReference,
  mediaTypes,
} from '#core/blobs/index.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { buildIndex, type StoredChunk } from './build-index.ts'
import { ArtifactError } from './errors.ts'
import { type ImageKey, keyIdOf } from './image-key.ts'
import { chunkLength, mostPacks } from './index-format.ts'
import { encodeManifest, type ImageManifest } from './manifest.ts'
import { PackWriter } from './pack-writer.ts'

/** Disk bytes that are read at once. */
const readBytes = 4_194_304
/** How far `extents` looks ahead. */
const stepBytes = 33_554_432
/** Several are in memory at once. */
const largestPackBytes = 268_435_456

/** Makes stored chunks, perhaps on many cores. */
export interface ChunkSealer {
  /** How many chunks are worth having under way at once. */
  readonly width: number
  /** @param chunk is read before this returns its promise, and left as it is */
  seal(chunk: Uint8Array): Promise<SealedChunk>
}

export interface SealedChunk {
  readonly digest: Uint8Array
  /** Given away: its memory is used again once it is in a pack. */
  readonly stored: Uint8Array
}

/**
 * Where an import that was interrupted left off: what it wrote down is stored for good.
 *
 * INVARIANT: it says what need not be stored again, never what the disk is: a source that has changed in the meantime
 * is imported as it is now.
 */
export interface ImportJournal {
  /** Chunks that an earlier run has stored already. */
  readonly done: readonly StoredChunk[]
  /** Sizes of the packs that they lie in. */
  readonly packSizes: ReadonlyMap<BlobDigest, number>
  /** A pack is in the store, and these chunks are in it. */
  record(pack: BlobDigest, sizeBytes: number, chunks: readonly StoredChunk[]): Promise<void>
}

export interface ImportProgress {
  /** Of the disk, holes counted as they are passed. */
  readonly bytesDone: number
  readonly sizeBytes: number
  readonly bytesStored: number
}

export interface ImportOptions {
  readonly source: BlockDevice
  readonly reference: ImageReference
  readonly key: ImageKey
  readonly store: BlobStore
  readonly sealer: ChunkSealer
  /** Chunks that the store has from other versions, by their digest in hexadecimal digits. */
  readonly known: KnownChunks
  readonly journal: ImportJournal
  readonly about: Pick<
    ImageManifest,
    'chunkBytes' | 'sectorBytes' | 'diskId' | 'applications' | 'vm' | 'createdAt'
  >
  readonly onProgress: (progress: ImportProgress) => void
  /** All is stored, and the image gets its name when this resolves: the time to remember what it must be. */
  readonly beforeTag: (manifestDigest: BlobDigest) => Promise<void>
  readonly signal: AbortSignal
}

export interface KnownChunks {
  readonly chunks: ReadonlyMap<string, StoredChunk>
  readonly packSizes: ReadonlyMap<BlobDigest, number>
}

export interface ImportedImage {
  readonly manifest: ImageManifest
  readonly manifestDigest: BlobDigest
  /** Chunks that are no zeros; of those, chunks that the store had. */
  readonly chunks: number
  readonly reusedChunks: number
  /** New in the store, without the index. */
  readonly bytesStored: number
  /** Of the OCI artifact: all that a copy of the image takes. */
  readonly bytesTotal: number
}

/**
 * Imports a disk: cuts it into chunks, stores those that the store does not have, and names the image.
 *
 * Zeros are never stored. The name is given last, so that nobody sees half an image. Of a source whose tables cannot be, nothing is
 * stored at all.
 *
 * @throws {ArtifactError} ARTIFACT_BAD_INPUT, before anything is stored; what source, store and `beforeTag` throw; the
 * reason of `signal`
 */
export async function importImage(options: ImportOptions): Promise<ImportedImage> {
  const { source, sealer, about, signal } = options
  const shape = { sizeBytes: Number(source.sizeBytes), chunkBytes: about.chunkBytes }
  requireSectors(shape.sizeBytes, about.sectorBytes)
  // What cannot be signed in the end is found before anything is stored.
  encodeManifest(manifestOf(options, shape, { merkleRoot: '0'.repeat(64), storedChunks: 0, storedBytes: 0 }))
  const placer = new ChunkPlacer(options, packBytesFor(await countData(source, shape, signal)))
  const pipeline = new Pipeline<SealedChunk>(sealer.width * 4, (number, sealed) =>
    placer.place(number, sealed),
  )
  const progress = (bytesDone: number): void =>
    options.onProgress({ bytesDone, sizeBytes: shape.sizeBytes, bytesStored: placer.bytesStored })
  for await (const { offset, bytes } of dataOf(source, shape, signal)) {
    for (let at = 0; at < bytes.length; at += shape.chunkBytes) {
      const number = (offset + at) / shape.chunkBytes
      const chunk = bytes.subarray(at, at + chunkLength(shape, number))
      if (!isZero(chunk)) await pipeline.push(number, sealer.seal(chunk))
    }
    source.done?.(bytes)
    progress(offset + bytes.length)
  }
  await pipeline.drain()
  const { chunks, packSizes } = await placer.finish()
  progress(shape.sizeBytes)
  const named = await nameImage(options, shape, chunks, packSizes)
  return { ...named, chunks: chunks.size, reusedChunks: placer.reused, bytesStored: placer.bytesStored }
}

type Shape = Pick<ImageManifest, 'sizeBytes' | 'chunkBytes'>

/** Finds a place for each chunk: where the store has it already, where this import has put it, or in a new pack. */
class ChunkPlacer {
  readonly #packs: PackWriter
  readonly #hasPack: (pack: BlobDigest) => Promise<boolean>
  readonly #packSizes: Map<BlobDigest, number>
  readonly #stored: Map<string, StoredChunk>
  readonly #own = new Map<string, Promise<StoredChunk>>()
  readonly #placed = new Map<number, StoredChunk>()
  #reused = 0

  constructor({ store, known, journal, signal }: ImportOptions, packBytes: number) {
    this.#packs = new PackWriter({ store, packBytes, journal, signal })
    this.#packSizes = new Map([...known.packSizes, ...journal.packSizes])
    this.#stored = new Map(known.chunks)
    for (const chunk of journal.done) this.#stored.set(hexOf(chunk.digest), chunk)
    this.#hasPack = packAsker(store, this.#packSizes, signal)
  }

  get reused(): number {
    return this.#reused
  }

  get bytesStored(): number {
    return this.#packs.bytesStored
  }

  async place(number: number, sealed: SealedChunk): Promise<void> {
    await this.#packs.room()
    const name = hexOf(sealed.digest)
    const known = this.#stored.get(name)
    const isKnown = known !== undefined && (await this.#hasPack(known.pack))
    const again = isKnown ? Promise.resolve(known) : this.#own.get(name)
    if (again !== undefined) this.#reused += 1
    const placing = again ?? this.#packs.add(sealed)
    this.#own.set(name, placing)
    // Where it lies is known when its pack is full; nobody waits for that here.
    placing.then(
      (chunk) => this.#placed.set(number, chunk),
      () => {},
    )
  }

  async finish(): Promise<{
    readonly chunks: ReadonlyMap<number, StoredChunk>
    readonly packSizes: ReadonlyMap<BlobDigest, number>
  }> {
    for (const [pack, size] of await this.#packs.finish()) this.#packSizes.set(pack, size)
    await Promise.all(this.#own.values())
    return { chunks: this.#placed, packSizes: this.#packSizes }
  }
}

/** Few enough packs for an index and an OCI manifest, and none smaller than registries like to read. */
function packBytesFor(dataBytes: number): number {
  let packBytes = 4_194_304
  while (packBytes * 8192 < dataBytes && packBytes < largestPackBytes) packBytes *= 2
  return packBytes
}

/** Whether the store has a pack in full. Each is asked for once: an import takes no longer than collecting waits. */
function packAsker(
  store: BlobStore,
  sizes: ReadonlyMap<BlobDigest, number>,
  signal: AbortSignal,
): (pack: BlobDigest) => Promise<boolean> {
  const answers = new Map<BlobDigest, Promise<boolean>>()
  return (pack) => {
    const answer = answers.get(pack) ?? store.size(pack, signal).then((size) => size === sizes.get(pack))
    answers.set(pack, answer)
    return answer
  }
}

function hexOf(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex')
}

function manifestOf(
  { reference, about, key }: ImportOptions,
  shape: Shape,
  stored: Pick<ImageManifest, 'merkleRoot' | 'storedChunks' | 'storedBytes'>,
): ImageManifest {
  return { schema: 1, ...reference, ...about, ...shape, ...stored, keyId: keyIdOf(key) }
}

async function nameImage(
  options: ImportOptions,
  shape: Shape,
  chunks: ReadonlyMap<number, StoredChunk>,
  sizes: ReadonlyMap<BlobDigest, number>,
): Promise<Pick<ImportedImage, 'manifest' | 'manifestDigest' | 'bytesTotal'>> {
  const { reference, store, beforeTag, signal } = options
  const index = buildIndex(shape, chunks, sizes)
  const manifest = manifestOf(options, shape, {
    merkleRoot: index.merkleRoot,
    storedChunks: chunks.size,
    storedBytes: chunks.values().reduce((sum, { length }) => sum + length, 0),
  })
  const manifestBytes = encodeManifest(manifest)
  const layers = [
    await putBlob(store, mediaTypes.chunkIndex, index.bytes, signal),
    ...index.packs.map(({ digest, sizeBytes }) => ({ mediaType: mediaTypes.pack, digest, size: sizeBytes })),
  ]
  const config = await putBlob(store, mediaTypes.image, manifestBytes, signal)
  const oci = encodeOciManifest({ artifactType: mediaTypes.image, config, layers })
  await beforeTag(config.digest)
  await store.tag(reference, oci, signal)
  const bytesTotal = layers.reduce((sum, { size }) => sum + size, config.size)
  return { manifest, manifestDigest: config.digest, bytesTotal }
}

async function putBlob(store: BlobStore, mediaType: string, bytes: Uint8Array, signal: AbortSignal) {
  const digest = digestOf(bytes)
  await store.put(digest, bytes, signal)
  return { mediaType, digest, size: bytes.length }
}

/** What a disk may hold in whole chunks. */
async function* dataOf(
  source: BlockDevice,
  shape: Shape,
  signal: AbortSignal,
): AsyncGenerator<{ readonly offset: number; readonly bytes: Uint8Array }, void, undefined> {
  for await (const { from, to } of dataRanges(source, shape, signal)) {
    const read = (at: number): Promise<Uint8Array> =>
      source.read(BigInt(at), Math.min(readBytes, to - at), signal)
    let next: Promise<Uint8Array> | undefined = read(from)
    for (let offset = from; next !== undefined; offset += readBytes) {
      const bytes = await next
      // The next part is read while this one is worked on.
      next = offset + readBytes < to ? read(offset + readBytes) : undefined
      next?.catch(() => {})
      yield { offset, bytes }
    }
  }
}

/** No machine reads the rest of a sector: what has one is no disk, or was cut off. */
function requireSectors(sizeBytes: number, sectorBytes: number): void {
  if (sizeBytes > 0 && sizeBytes % sectorBytes === 0) return
  throw new ArtifactError(
    'ARTIFACT_BAD_INPUT',
    `expected a disk of whole sectors of ${sectorBytes} bytes, got ${sizeBytes} bytes`,
    {
      remedy: `Name a file that is a disk, or copy it again: it may be cut off. A raw disk that is to end with zeros is made so: truncate -s %${sectorBytes} FILE.`,
    },
  )
}

/**
 * Looks through the source's tables, which it reads as they are needed: what is wrong late in them is found before anything is stored.
 *
 * @returns bytes of the chunks that may hold something
 */
async function countData(source: BlockDevice, shape: Shape, signal: AbortSignal): Promise<number> {
  let dataBytes = 0
  for await (const { from, to } of dataRanges(source, shape, signal)) dataBytes += to - from
  if (dataBytes <= mostPacks * largestPackBytes) return dataBytes
  throw new ArtifactError(
    'ARTIFACT_BAD_INPUT',
    `expected a disk with at most ${mostPacks * largestPackBytes} bytes of data, got ${dataBytes}`,
    { remedy: 'Make holes where it holds zeros, as with fallocate --dig-holes, or use several disks.' },
  )
}

/** The parts of a disk that may hold something, out to the borders of chunks, each chunk once. */
async function* dataRanges(
  source: BlockDevice,
  { sizeBytes, chunkBytes }: Shape,
  signal: AbortSignal,
): AsyncGenerator<{ readonly from: number; readonly to: number }, void, undefined> {
  let covered = 0
  for (let at = 0; at < sizeBytes; ) {
    signal.throwIfAborted()
    const length = Math.min(stepBytes, sizeBytes - at)
    for (const extent of await source.extents(BigInt(at), length, signal)) {
      const end = at + extent.length
      if (extent.kind === 'data') {
        const from = Math.max(Math.floor(at / chunkBytes) * chunkBytes, covered)
        covered = Math.max(Math.min(Math.ceil(end / chunkBytes) * chunkBytes, sizeBytes), covered)
        if (from < covered) yield { from, to: covered }
      }
      at = end
    }
  }
}

const zeros = Buffer.alloc(65_536)

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length)
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false
  }
  return true
}

/** Work that is begun in any order and ends in order, a bounded part of it at once. */
class Pipeline<T> {
  readonly #width: number
  readonly #work: (number: number, item: T) => Promise<void>
  readonly #under: { readonly number: number; readonly item: Promise<T> }[] = []

  constructor(width: number, work: (number: number, item: T) => Promise<void>) {
    this.#width = width
    this.#work = work
  }

  async push(number: number, item: Promise<T>): Promise<void> {
    // Whether it failed is asked when its turn comes.
    item.catch(() => {})
    this.#under.push({ number, item })
    while (this.#under.length >= this.#width) await this.#step()
  }

  async drain(): Promise<void> {
    while (this.#under.length > 0) await this.#step()
  }

  async #step(): Promise<void> {
    const oldest = this.#under.shift()
    if (oldest !== undefined) await this.#work(oldest.number, await oldest.item)
  }
}
