import {
  type BlobReader,
  decodeOciManifest,
  digestOf,
  formatReference,
  type ImageReference,
  type OciManifest,
} from '#core/blobs/index.ts'
import { ArtifactError } from './errors.ts'
import { decodeManifest, type ImageManifest, maximumManifestBytes } from './manifest.ts'

/** What a store says that an image is. INVARIANT I3: nobody vouches for it but the store. */
export interface ClaimedImage {
  readonly manifest: ImageManifest
  readonly manifestBytes: Uint8Array
  readonly oci: OciManifest
}

/**
 * Reads what a store says that an image is, to show it or to compare it.
 *
 * @throws {ArtifactError} ARTIFACT_MISSING, ARTIFACT_BAD_MANIFEST; {BlobError}
 */
export async function readClaimed(
  store: BlobReader,
  reference: ImageReference,
  signal?: AbortSignal,
): Promise<ClaimedImage> {
  const bytes = await store.manifest(reference, signal)
  if (bytes === undefined) {
    throw new ArtifactError(
      'ARTIFACT_MISSING',
      `there is no ${formatReference(reference)} in ${store.name}`,
      {
        remedy: 'See what there is: trustcast image list.',
      },
    )
  }
  const oci = decodeOciManifest(bytes)
  const length = Math.min(oci.config.size, maximumManifestBytes)
  const manifestBytes = await store.read(oci.config.digest, 0, length, signal)
  if (digestOf(manifestBytes) !== oci.config.digest) {
    throw new ArtifactError(
      'ARTIFACT_BAD_MANIFEST',
      `the manifest of ${formatReference(reference)} was altered`,
    )
  }
  return { manifest: decodeManifest(manifestBytes), manifestBytes, oci }
}
