/** Media types of what a store keeps. The first two are OCI's, the others an image's own. */
export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  /** `artifactType` and media type of the config: what an image is. */
  image: 'application/vnd.trustcast.image.v1+json',
  /** Layer: which chunk of the disk lies where. */
  chunkIndex: 'application/vnd.trustcast.index.v1',
  /** Layer: chunks, one after another. */
  pack: 'application/vnd.trustcast.pack.v1',
  /** Layer: what a boot reads, in order. */
  trace: 'application/vnd.trustcast.trace.v1+json',
} as const
