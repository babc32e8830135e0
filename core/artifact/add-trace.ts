import {
  type BlobDigest,
  type BlobStore,
  digestHex,
  digestOf,
  encodeOciManifest,
  type ImageReference,
  mediaTypes,
} from '#core/blobs/index.ts'
import { type BootTrace, encodeTrace, fitTrace } from '#core/block/boot-trace.ts'
import { encodeManifest } from './manifest.ts'
import type { ClaimedImage } from './read-manifest.ts'

/**
 * Gives an image a boot trace. Its manifest becomes another, so this is done before people sign it.
 *
 * @param claimed of which the caller knows that it is the image that is meant
 * @param options.beforeTag all is stored, and the image becomes the new one when this resolves
 * @returns digest of the new manifest
 * @throws {TraceError} when the trace does not fit the disk; {BlobError}; what `beforeTag` throws
 */
export async function addTrace(
  store: BlobStore,
  reference: ImageReference,
  { manifest, oci }: ClaimedImage,
  trace: BootTrace,
  {
    beforeTag,
    signal,
  }: {
    readonly beforeTag?: (manifestDigest: BlobDigest) => Promise<void>
    readonly signal?: AbortSignal
  } = {},
): Promise<BlobDigest> {
  const traceBytes = encodeTrace(fitTrace(trace, manifest.sizeBytes))
  const digest = digestOf(traceBytes)
  const manifestBytes = encodeManifest({
    ...manifest,
    trace: { digest: digestHex(digest), sizeBytes: traceBytes.length },
  })
  const config = { mediaType: mediaTypes.image, digest: digestOf(manifestBytes), size: manifestBytes.length }
  await store.put(digest, traceBytes, signal)
  await store.put(config.digest, manifestBytes, signal)
  const layers = [
    ...oci.layers.filter(({ mediaType }) => mediaType !== mediaTypes.trace),
    { mediaType: mediaTypes.trace, digest, size: traceBytes.length },
  ]
  await beforeTag?.(config.digest)
  await store.tag(reference, encodeOciManifest({ ...oci, config, layers }), signal)
  return config.digest
}
