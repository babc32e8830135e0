import { type OpenedImage, openImage } from '#core/artifact/open-image.ts'
import type { StoredCache } from '#core/artifact/stored-cache.ts'
import { type BlobDigest, type BlobReader, formatReference, type ImageReference } from '#core/blobs/index.ts'
import { ImagesError } from './image-error.ts'
import { imageKey, madeHere } from './key-ring.ts'

/**
 * What this account trusts an image to be: the manifest that it made itself, or one that was named to it.
 *
 * INVARIANT I1: a store's word is not enough.
 *
 * @param named digest that a person gave
 * @throws {ImagesError} IMAGE_NOT_TRUSTED
 */
export async function trustedDigest(reference: ImageReference, named?: BlobDigest): Promise<BlobDigest> {
  const digest = named ?? (await madeHere(reference))
  if (digest !== undefined) return digest
  throw new ImagesError('IMAGE_NOT_TRUSTED', `nothing here says what ${formatReference(reference)} must be`, {
    remedy:
      'It was not imported by this account. Use a signed release through a site, or name the digest of its manifest with --manifest.',
  })
}

/** Opens an image with this account's key. @throws {ImagesError} {ArtifactError} {BlobError} {MerkleError} */
export async function openTrusted(
  reference: ImageReference,
  manifestDigest: BlobDigest,
  stores: readonly [BlobReader, ...BlobReader[]],
  options: { readonly cache: StoredCache; readonly memoryBytes: number },
): Promise<OpenedImage> {
  const key = await imageKey(reference.name)
  try {
    return await openImage({ reference, manifestDigest, stores, key, ...options })
  } finally {
    key.fill(0)
  }
}
