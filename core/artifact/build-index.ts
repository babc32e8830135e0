import type { BlobDigest } from '#core/blobs/blob-store.ts'
import { buildTree, fanOut, pageBytes, type TreePage, usedSlots } from '#core/merkle/index.ts'
import { ArtifactError } from './errors.ts'
import {
  chunksOf,
  encodeFirstChild,
  encodeHeader,
  encodePlaces,
  mostPacks,
  type PackEntry,
  type Place,
  recordBytes,
  recordsAt,
} from './index-format.ts'
import type { ImageManifest } from './manifest.ts'

/** A stored chunk and where it lies. */
export interface StoredChunk {
  /** SHA-256 of the stored bytes. */
  readonly digest: Uint8Array
  readonly pack: BlobDigest
  readonly offset: number
  readonly length: number
}

export interface BuiltIndex {
  readonly merkleRoot: string
  readonly bytes: Uint8Array
  /** Every pack that is used, in the order of the index. */
  readonly packs: readonly PackEntry[]
}

/**
 * Builds an index.
 *
 * @param chunks by their number; those that are missing are zeros
 * @param packSizes of every pack that a chunk names
 * @throws {ArtifactError} ARTIFACT_BAD_INPUT for more packs than an index can name
 */
export function buildIndex(
  shape: Pick<ImageManifest, 'sizeBytes' | 'chunkBytes'>,
  chunks: ReadonlyMap<number, StoredChunk>,
  packSizes: ReadonlyMap<BlobDigest, number>,
): BuiltIndex {
  const ordered = [...chunks].toSorted(([a], [b]) => a - b)
  const names = [...new Set(ordered.map(([, { pack }]) => pack))]
  if (names.length > mostPacks) {
    throw new ArtifactError(
      'ARTIFACT_BAD_INPUT',
      `expected at most ${mostPacks} packs, got ${names.length}`,
      {
        remedy: 'Import into a store of its own: the chunks of this image are scattered over too many packs.',
      },
    )
  }
  const packs = names.map((digest) => ({ digest, sizeBytes: packSizes.get(digest) ?? 0 }))
  const numbers = new Map(names.map((digest, number) => [digest, number]))
  const placeOf = (index: number): Place | undefined => {
    const chunk = chunks.get(index)
    return chunk && { pack: numbers.get(chunk.pack) ?? 0, offset: chunk.offset, length: chunk.length }
  }
  const tree = buildTree(
    ordered.map(([index, { digest }]) => [index, digest] as const),
    chunksOf(shape),
  )
  const header = { ...shape, packs: packs.length, records: tree.pages.length }
  const bytes = new Uint8Array(recordsAt(header) + tree.pages.length * recordBytes)
  bytes.set(encodeHeader(header, packs))
  writeRecords(bytes.subarray(recordsAt(header)), tree.pages, placeOf)
  return { merkleRoot: Buffer.from(tree.root).toString('hex'), bytes, packs }
}

function writeRecords(
  into: Uint8Array,
  pages: readonly TreePage[],
  placeOf: (index: number) => Place | undefined,
): void {
  // Breadth first: the children of the root's record begin at 1, those of the next page where they end.
  let nextChild = 1
  for (const [record, { level, index, page }] of pages.entries()) {
    into.set(page, record * recordBytes)
    into.set(
      level === 0 ? leafPlaces(index, placeOf) : encodeFirstChild(nextChild),
      record * recordBytes + pageBytes,
    )
    if (level > 0) nextChild += usedSlots(page).length
  }
}

function leafPlaces(index: number, placeOf: (index: number) => Place | undefined): Uint8Array {
  return encodePlaces(Array.from({ length: fanOut }, (_, slot) => placeOf(index * fanOut + slot)))
}
