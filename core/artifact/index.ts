export { addTrace } from './add-trace.ts'
export type { StoredChunk } from './build-index.ts'
export { defaultChunkBytes, openChunk, sealChunk } from './chunk.ts'
export { type ChunkChange, type ComparedImage, diffImages, type ImageDiff } from './diff-images.ts'
export { type DiskCells, diskCells } from './disk-cells.ts'
export type { ImageIndex } from './image-index.ts'
export { chunkKeysOf, type ImageKey, keyIdOf, sealingKeysOf } from './image-key.ts'
export {
  type ChunkSealer,
  type ImportedImage,
  type ImportJournal,
  type ImportOptions,
  type ImportProgress,
  importImage,
  type KnownChunks,
  type SealedChunk,
} from './import-image.ts'
export type { Patience } from './in-turn.ts'
export { readKnownChunks } from './known-chunks.ts'
export { applications, chunkSize, decodeManifest, encodeManifest, type ImageManifest } from './manifest.ts'
export type { ImageCounts, OpenedImage, OpenImageOptions } from './open-image.ts'
export { type ClaimedImage, readClaimed } from './read-manifest.ts'
export { noCache, type StoredCache } from './stored-cache.ts'
