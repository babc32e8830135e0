import { fanOut } from '#core/merkle/index.ts'
import type { ChunkReference } from './chunk-reader.ts'
import type { ImageIndex, Leaves } from './image-index.ts'
import { chunkLength, chunksOf } from './index-format.ts'
import type { ImageManifest } from './manifest.ts'

/** One of two versions that are compared. */
export interface ComparedImage {
  readonly manifest: ImageManifest
  readonly index: ImageIndex
}

export interface ImageDiff {
  /** Of the newer version, bytes of the disk: the same place holds the same as in the older one, zeros included. */
  readonly sameBytes: number
  /** The older one has something else there, or nothing. */
  readonly changedBytes: number
  /** The older one has something there that is zeros now. */
  readonly clearedBytes: number
  /** Stored bytes of chunks that the older one does not have at that place. */
  readonly changedStoredBytes: number
  /** Where the newer one differs, in order, at most `maximumRanges`; neighbours are joined. */
  readonly ranges: readonly { readonly offset: number; readonly length: number }[]
  /** There are more ranges than were kept. */
  readonly isCut: boolean
}

/** What a chunk of the newer version is beside the one at its place in the older one; `empty` is zeros in both. */
export type ChunkChange = 'same' | 'changed' | 'cleared' | 'empty'

const maximumRanges = 100_000

/**
 * Compares two versions by their Merkle trees: no chunk is read.
 *
 * Versions under different keys, or of different chunk sizes, share nothing.
 *
 * @param onChunk called for each chunk in order, with its place in bytes of the disk
 * @throws {MerkleError} {ArtifactError} {BlobError}
 */
export async function diffImages(
  older: ComparedImage,
  newer: ComparedImage,
  onChunk?: (offset: number, length: number, change: ChunkChange) => void,
  signal?: AbortSignal,
): Promise<ImageDiff> {
  const { manifest } = newer
  const isComparable =
    older.manifest.keyId === manifest.keyId && older.manifest.chunkBytes === manifest.chunkBytes
  const count = chunksOf(manifest)
  const totals = { sameBytes: 0, changedBytes: 0, clearedBytes: 0, changedStoredBytes: 0 }
  const ranges: { offset: number; length: number }[] = []
  let isCut = false
  for (let page = 0; page < count; page += fanOut) {
    signal?.throwIfAborted()
    const now = await newer.index.leaves(page)
    const before = isComparable && page < chunksOf(older.manifest) ? await older.index.leaves(page) : nothing
    for (let number = page; number < Math.min(page + fanOut, count); number++) {
      const length = chunkLength(manifest, number)
      const [chunk, old] = [now.at(number), before.at(number)]
      const change = changeOf(chunk, old)
      onChunk?.(number * manifest.chunkBytes, length, change)
      if (change === 'same' || change === 'empty') {
        totals.sameBytes += length
        continue
      }
      if (change === 'cleared') totals.clearedBytes += length
      else totals.changedBytes += length
      totals.changedStoredBytes += chunk?.length ?? 0
      isCut ||= !addRange(ranges, number * manifest.chunkBytes, length)
    }
  }
  return { ...totals, ranges, isCut }
}

const nothing: Leaves = { first: 0, isHole: true, at: () => undefined }

function changeOf(now: ChunkReference | undefined, before: ChunkReference | undefined): ChunkChange {
  if (now === undefined) return before === undefined ? 'empty' : 'cleared'
  return before !== undefined && Buffer.compare(now.digest, before.digest) === 0 ? 'same' : 'changed'
}

/** @returns false when there is no room */
function addRange(ranges: { offset: number; length: number }[], offset: number, length: number): boolean {
  const last = ranges.at(-1)
  if (last !== undefined && last.offset + last.length === offset) last.length += length
  else if (ranges.length < maximumRanges) ranges.push({ offset, length })
  else return false
  return true
}
