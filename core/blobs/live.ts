import type { BlobDigest } from './blob-store.ts'
import { decodeOciManifest, type OciManifest } from './oci-manifest.ts'
import { digestOf } from './reference.ts'

/**
 * The blobs that images need, for the collection of all others: each manifest itself, its config and its layers.
 *
 * INVARIANT: a manifest that is not understood fails, as nobody knows what it needs.
 *
 * @param manifests bytes of OCI manifests, untrusted
 * @throws {BlobError} BLOB_WRONG_ANSWER
 */
export function neededDigests(manifests: Iterable<Uint8Array>): Set<BlobDigest> {
  const needed = new Set<BlobDigest>()
  for (const bytes of manifests) {
    needed.add(digestOf(bytes))
    for (const digest of digestsOf(decodeOciManifest(bytes))) needed.add(digest)
  }
  return needed
}

/** The blobs that a manifest names, each once: its config and its layers. */
export function digestsOf({ config, layers }: OciManifest): Set<BlobDigest> {
  return new Set([config, ...layers].map(({ digest }) => digest))
}
