import type { BlobDigest } from '#core/blobs/blob-store.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import { storedDigest } from './chunk.ts'
import { ArtifactError } from './errors.ts'
import { keptNameOf, type LocalChunks } from './local-chunks.ts'
import type { StoredCache } from './stored-cache.ts'

/** A stored chunk: what it is, and where a store says that it lies. */
export interface ChunkReference {
  /** Position in the disk, in chunks. */
  readonly number: number
  /** SHA-256 of the stored bytes, from a verified page. */
  readonly digest: Uint8Array
  readonly pack: BlobDigest
  readonly offset: number
  readonly length: number
}

/** How much somebody wants a chunk, which may grow while it is fetched. */
export interface Wish {
  /** False: somebody may want it soon. */
  urgent: boolean
  /** Set by whoever let the wish wait; called when it becomes urgent. */
  hurry?: (() => void) | undefined
}

/**
 * Reads stored chunks. INVARIANT I1: what it gives has the digest that was asked for.
 *
 * Concurrency: any number of reads at once.
 */
export interface ChunkReader {
  /**
   * @param take is given the stored bytes, once, to make something of them at once: their memory is used again when it
   *   has returned
   * @returns what `take` made
   * @throws {ArtifactError} ARTIFACT_WRONG_CHUNK; {BlobError}
   */
  read<T>(chunk: ChunkReference, wish: Wish, take: Take<T>): Promise<T>
}

/** Must not throw. */
export type Take<T> = (stored: Uint8Array) => T

/** @throws {ArtifactError} ARTIFACT_WRONG_CHUNK */
export function verifyChunk(chunk: ChunkReference, stored: Uint8Array, from: string): void {
  if (Buffer.compare(storedDigest(stored), chunk.digest) !== 0) {
    throw new ArtifactError(
      'ARTIFACT_WRONG_CHUNK',
      `chunk ${chunk.number} from ${from} is not the one that was signed`,
    )
  }
}

export interface CacheCounts {
  bytesFromCache: number
  /** Chunks that this machine had kept when somebody wanted them, and had not. */
  hits: number
  misses: number
  /** Of the misses, those that somebody waited for when they were noticed. */
  waits: number
  /** Chunks, kept here or from a store, that were not what they must be. */
  damaged: number
}

/** Reads from what this machine keeps, and keeps what it had to read from `inner`. Damaged chunks are read again. */
export function cachedChunks(
  inner: ChunkReader,
  cache: StoredCache,
  local: LocalChunks,
  counts: CacheCounts,
): ChunkReader {
  return {
    read: async (chunk, wish, take) => {
      const name = keptNameOf(chunk)
      const kept = await cache.get(name)
      if (kept !== undefined && Buffer.compare(storedDigest(kept), chunk.digest) === 0) {
        counts.bytesFromCache += kept.length
        counts.hits += 1
        local.set(chunk.number, true)
        const taken = take(kept)
        giveBack(kept)
        return taken
      }
      if (kept !== undefined) {
        counts.damaged += 1
        cache.drop(name)
      }
      counts.misses += 1
      if (wish.urgent) counts.waits += 1
      local.set(chunk.number, false)
      return inner.read(chunk, wish, (stored) => {
        local.set(chunk.number, cache.put(name, stored))
        return take(stored)
      })
    },
  }
}
