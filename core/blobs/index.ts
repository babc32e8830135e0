export {
  type BlobDigest,
  type BlobReader,
  type BlobStore,
  type ImageReference,
  maximumManifestBytes,
} from './blob-store.ts'
export { decodeAnswer } from './decode-answer.ts'
export { BlobError, type BlobErrorCode } from './errors.ts'
export { digestsOf, neededDigests } from './live.ts'
export { mediaTypes } from './media-types.ts'
export {
  decodeOciIndex,
  emptyOciIndex,
  encodeOciIndex,
  findImage,
  type IndexEntry,
  layoutVersion,
  maximumIndexBytes,
  type OciIndex,
  requireLayoutVersion,
  withImage,
  withoutImage,
} from './oci-index.ts'
export {
  type Descriptor,
  decodeOciManifest,
  encodeOciManifest,
  type OciManifest,
} from './oci-manifest.ts'
export {
  blobDigest,
  digestHex,
  digestOf,
  formatReference,
  parseDigest,
  parseReference,
  requireReference,
} from './reference.ts'
export { defaultRetries, pauseMs, type RetryOptions, retried, retriedStore } from './retried.ts'
export { parseStoreAddress, requireConfidential, type StoreAddress } from './store-address.ts'
