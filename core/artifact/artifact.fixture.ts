import {
  type BlobDigest,
  BlobError,
  type BlobStore,
  digestOf,
  formatReference,
  type ImageReference,
  parseReference,
} from '#core/blobs/index.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { sealChunk, storedDigest } from './chunk.ts'
import { type ImageKey, sealingKeysOf } from './image-key.ts'
import { type ImportOptions, importImage } from './import-image.ts'
import { type OpenedImage, openImage } from './open-image.ts'
import { noCache } from './stored-cache.ts'

export interface MemoryStore extends BlobStore {
  readonly blobs: Map<BlobDigest, Uint8Array>
  readonly tags: Map<string, Uint8Array>
  /** Ranges that were read. */
  readonly reads: { readonly digest: BlobDigest; readonly offset: number; readonly length: number }[]
}

/** A store that keeps everything in memory, for tests that alter what it answers. */
export function memoryStore(name = 'memory'): MemoryStore {
  const blobs = new Map<BlobDigest, Uint8Array>()
  const tags = new Map<string, Uint8Array>()
  const reads: MemoryStore['reads'] = []
  return {
    name,
    blobs,
    tags,
    reads,
    read: async (digest, offset, length, signal) => {
      signal?.throwIfAborted()
      reads.push({ digest, offset, length })
      const bytes = blobs.get(digest)
      if (bytes === undefined) throw new BlobError('BLOB_MISSING', `${name} has no ${digest}`)
      if (offset + length > bytes.length) throw new BlobError('BLOB_WRONG_ANSWER', `${name}: beyond the end`)
      return new Uint8Array(bytes.subarray(offset, offset + length))
    },
    manifest: async (reference) => tags.get(formatReference(reference)),
    references: async () => [...tags.keys()].map(parseReference),
    size: async (digest) => blobs.get(digest)?.length,
    put: async (digest, bytes) => void blobs.set(digest, new Uint8Array(bytes)),
    tag: async (reference, manifest) => {
      blobs.set(digestOf(manifest), new Uint8Array(manifest))
      tags.set(formatReference(reference), manifest)
    },
    untag: async (reference) => tags.delete(formatReference(reference)),
    [Symbol.asyncDispose]: async () => {},
  }
}

export const testKey: ImageKey = new Uint8Array(32).fill(7)

/** Imports a disk of small chunks without workers. */
export function importDevice(
  source: BlockDevice,
  store: BlobStore,
  more: Partial<ImportOptions> & { readonly version?: string } = {},
) {
  const keys = sealingKeysOf(more.key ?? testKey)
  return importImage({
    source,
    store,
    reference: { name: 'disk', version: more.version ?? '1' },
    key: testKey,
    sealer: {
      width: 2,
      seal: async (chunk) => {
        const stored = sealChunk(keys, chunk)
        return { stored, digest: storedDigest(stored) }
      },
    },
    known: { chunks: new Map(), packSizes: new Map() },
    journal: { done: [], packSizes: new Map(), record: async () => {} },
    about: {
      chunkBytes: 65_536,
      sectorBytes: 512,
      diskId: '00000000-0000-4000-8000-000000000001',
      applications: {},
      createdAt: '2026-01-01T00:00:00Z',
    },
    onProgress: () => {},
    beforeTag: async () => {},
    signal: new AbortController().signal,
    ...more,
  })
}

export function openDevice(
  manifestDigest: BlobDigest,
  stores: readonly [BlobStore, ...BlobStore[]],
  more: { readonly reference?: ImageReference } & Partial<Parameters<typeof openImage>[0]> = {},
): Promise<OpenedImage> {
  return openImage({
    reference: { name: 'disk', version: '1' },
    manifestDigest,
    stores,
    key: testKey,
    cache: noCache,
    memoryBytes: 1_048_576,
    ...more,
  })
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4))
  let state = (seed * 2_654_435_761 + 1) >>> 0
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    words[at] = state
  }
  return new Uint8Array(words.buffer, 0, length)
}
