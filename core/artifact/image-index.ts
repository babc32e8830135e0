import type { BlobDigest, BlobReader } from '#core/blobs/blob-store.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import { entryOf, fanOut, levelsOf, pageBytes, verifyPage } from '#core/merkle/index.ts'
import { chunkOverhead } from './chunk.ts'
import type { ChunkReference } from './chunk-reader.ts'
import {
  badIndex,
  chunksOf,
  decodeHeader,
  decodePacks,
  firstChildOf,
  headerBytes,
  type IndexHeader,
  type PackEntry,
  packTableBytes,
  placeAt,
  recordBytes,
  recordsAt,
} from './index-format.ts'
import type { ImageManifest } from './manifest.ts'
import type { StoredCache } from './stored-cache.ts'

/** Records that are read at once. */
const windowRecords = 16
/** Windows that stay in memory: 12 MiB. */
const keptWindows = 128
/** Of those, for who goes through it in order: some for each level of the tree. */
const passingWindows = 12
/** What is read first: enough for the head of most images. */
const firstReadBytes = 65_536

/**
 * Finds the stored chunks of an image, each page of the tree verified from the root down before it is believed.
 *
 * Concurrency: any number of calls at once; a page is fetched once.
 */
export interface ImageIndex {
  /**
   * Where the chunks from `first`, up to the end of its page of leaves, lie: undefined for zeros.
   *
   * @throws {MerkleError} MERKLE_WRONG_PAGE; {ArtifactError} ARTIFACT_BAD_INDEX; {BlobError}
   */
  leaves(first: number): Promise<Leaves>

  /** Where this chunk lies was found wrong: what is kept of that is asked for again. */
  forget(chunk: number): void
}

/** A page of leaves. */
export interface Leaves {
  /** The chunk at the page's start. */
  readonly first: number
  /** All of them are zeros. */
  readonly isHole: boolean
  /** Undefined for zeros. */
  at(index: number): ChunkReference | undefined
}

interface Window {
  readonly bytes: Uint8Array
  /** What each record was verified to be: another parent that names the same record may expect something else. */
  readonly verified: Map<number, Uint8Array>
}

export interface IndexOptions {
  readonly blobs: BlobReader
  /** Of the blob, as the store says: not trusted, the pages are verified. */
  readonly digest: BlobDigest
  readonly sizeBytes: number
  readonly manifest: ImageManifest
  /** Authenticated, since places are not: see `authenticatedCache`. */
  readonly cache: StoredCache
  /** Names the index in `cache`. */
  readonly prefix: string
  readonly signal: AbortSignal
  /** One reader goes through it in order: next to nothing of it stays in memory. */
  readonly isPassing?: boolean
}

/**
 * Opens the index that a store has for an image.
 *
 * @throws {ArtifactError} ARTIFACT_BAD_INDEX; {BlobError}
 */
export async function openIndex(options: IndexOptions): Promise<ImageIndex> {
  const { manifest, sizeBytes } = options
  const root = Buffer.from(manifest.merkleRoot, 'hex')
  const head = await readCached(options, 'head', 0, Math.min(firstReadBytes, sizeBytes))
  const header = decodeHeader(head, manifest)
  if (recordsAt(header) + header.records * recordBytes !== sizeBytes) throw badIndex('it has another length')
  const packs = decodePacks(await packTable(options, head, header), header)
  const records = recordReader(options, header)
  /** Which record holds a page of leaves, as far as it was looked for. */
  const homes = new Map<number, number>()
  return {
    forget: (chunk) => {
      const record = homes.get(Math.floor(chunk / fanOut))
      if (record !== undefined) records.forget(record)
      options.cache.drop(`${options.prefix}.head`)
      options.cache.drop(`${options.prefix}.packs`)
    },
    leaves: async (first) => {
      const start = Math.floor(first / fanOut) * fanOut
      const found = await descend(start, manifest, root, async (number, level, expected) => {
        if (level === 0) homes.set(start / fanOut, number)
        return records.read(number, level, expected)
      })
      return {
        first: start,
        isHole: found === undefined,
        at: (number) => found && referenceAt(found, number, packs, manifest),
      }
    },
  }
}

/** A record whose page was verified to be the one that was named. */
type ReadRecord = (number: number, level: number, expected: Uint8Array) => Promise<Uint8Array>

/** Reads records by windows, of which the last used stay in memory. */
function recordReader(
  options: IndexOptions,
  header: IndexHeader,
): { readonly read: ReadRecord; readonly forget: (record: number) => void } {
  const windows = new Map<number, Promise<Window>>()
  const most = options.isPassing === true ? passingWindows : keptWindows
  const open = (number: number): Promise<Window> => {
    const offset = recordsAt(header) + number * windowRecords * recordBytes
    const length = Math.min(windowRecords * recordBytes, options.sizeBytes - offset)
    const reading = readCached(options, String(number), offset, length)
    return reading.then((bytes) => ({ bytes, verified: new Map<number, Uint8Array>() }))
  }
  const windowOf = (number: number): Promise<Window> => {
    const window = windows.get(number) ?? open(number)
    // Whoever was asked for last stands last.
    windows.delete(number)
    windows.set(number, window)
    for (const [oldest, forgotten] of windows) {
      if (windows.size <= most) break
      windows.delete(oldest)
      if (options.isPassing === true)
        void forgotten.then(
          ({ bytes }) => giveBack(bytes),
          () => {},
        )
    }
    return window
  }
  /** Neither memory nor this machine keeps what was found wrong: the store may have been put right. */
  const forget = (window: number): void => {
    windows.delete(window)
    options.cache.drop(`${options.prefix}.${window}`)
  }
  const read: ReadRecord = async (number, level, expected) => {
    if (number >= header.records) throw badIndex('a page lies beyond its end')
    const window = Math.floor(number / windowRecords)
    try {
      const { bytes, verified } = await windowOf(window)
      const at = (number % windowRecords) * recordBytes
      const record = bytes.subarray(at, at + recordBytes)
      const known = verified.get(number)
      if (known === undefined || Buffer.compare(known, expected) !== 0) {
        verifyPage(level, record.subarray(0, pageBytes), expected)
        verified.set(number, expected)
      }
      return record
    } catch (error) {
      forget(window)
      throw error
    }
  }
  return { read, forget: (number) => forget(Math.floor(number / windowRecords)) }
}

/** @returns undefined where the tree has a hole */
async function descend(
  leaf: number,
  manifest: ImageManifest,
  root: Uint8Array,
  record: ReadRecord,
): Promise<Uint8Array | undefined> {
  let expected: Uint8Array | undefined = root
  let number = 0
  for (let level = levelsOf(chunksOf(manifest)) - 1; ; level--) {
    const found: Uint8Array = await record(number, level, expected)
    if (level === 0) return found
    const page: Uint8Array = found.subarray(0, pageBytes)
    const slot = Math.floor(leaf / fanOut ** level) % fanOut
    expected = entryOf(page, slot)
    if (expected === undefined) return undefined
    number = firstChildOf(found) + usedBefore(page, slot)
  }
}

function usedBefore(page: Uint8Array, slot: number): number {
  let count = 0
  for (let index = 0; index < slot; index++) if (entryOf(page, index) !== undefined) count += 1
  return count
}

function referenceAt(
  record: Uint8Array,
  number: number,
  packs: readonly PackEntry[],
  { chunkBytes }: ImageManifest,
): ChunkReference | undefined {
  const slot = number % fanOut
  const digest = entryOf(record, slot)
  if (digest === undefined) return undefined
  const { pack, offset, length } = placeAt(record, slot)
  const entry = packs[pack]
  if (entry === undefined || length > chunkBytes + chunkOverhead || offset + length > entry.sizeBytes) {
    // A place that cannot be is one where no store has anything: another store is asked.
    return { number, digest, pack: nowhere, offset: 0, length: 0 }
  }
  return { number, digest, pack: entry.digest, offset, length }
}

const nowhere: BlobDigest = `sha256:${'0'.repeat(64)}`

async function packTable(options: IndexOptions, head: Uint8Array, header: IndexHeader): Promise<Uint8Array> {
  const end = headerBytes + packTableBytes(header)
  if (end > options.sizeBytes) throw badIndex('the table of packs is cut off')
  if (end <= head.length) return head.subarray(headerBytes, end)
  return readCached(options, 'packs', headerBytes, end - headerBytes)
}

async function readCached(
  { blobs, digest, cache, prefix, signal }: IndexOptions,
  what: string,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const kept = await cache.get(`${prefix}.${what}`)
  if (kept?.length === length) return kept
  const bytes = await blobs.read(digest, offset, length, signal)
  cache.put(`${prefix}.${what}`, bytes)
  return bytes
}
