/**
 * Where images are kept: an OCI image layout in a folder, the same behind plain HTTP, or an OCI registry.
 *
 * INVARIANT I3: no store is trusted. What it answers is believed only after its digest was compared, by whoever asked.
 */

/** Digest of a blob as OCI writes it: `sha256:` and 64 lower-case hexadecimal digits. */
export type BlobDigest = `sha256:${string}`

/** Name and version of an image, such as `debian-desktop:2`. Both are made of `[a-z0-9._-]`, 1 to 128 characters. */
export interface ImageReference {
  readonly name: string
  readonly version: string
}

/**
 * Reads blobs of a store.
 *
 * Concurrency: any number of reads at once. Repetition: all calls may be repeated.
 * Lifetime: disposing twice is harmless; reads after it fail.
 */
export interface BlobReader extends AsyncDisposable {
  /** For people: the folder or address. Never with credentials. */
  readonly name: string

  /**
   * Reads exactly `length` bytes of a blob at `offset`, into memory that is the caller's alone. The bytes are not
   * verified: the caller knows digests of parts.
   *
   * @throws {BlobError} BLOB_MISSING, BLOB_UNAVAILABLE, BLOB_WRONG_ANSWER, BLOB_DENIED; the reason of `signal`
   */
  read(digest: BlobDigest, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>

  /**
   * The OCI manifest that a reference names, at most `maximumManifestBytes`. Not verified.
   *
   * @returns undefined when the store knows no such image
   * @throws {BlobError} BLOB_UNAVAILABLE, BLOB_WRONG_ANSWER, BLOB_DENIED
   */
  manifest(reference: ImageReference, signal?: AbortSignal): Promise<Uint8Array | undefined>

  /**
   * All images of the store.
   *
   * @param name when only the versions of this image are needed: others may be left out. Many registries list these
   * and not their repositories
   * @throws {BlobError} BLOB_UNAVAILABLE, BLOB_DENIED; BLOB_BAD_STORE where the store cannot say
   */
  references(signal?: AbortSignal, name?: string): Promise<readonly ImageReference[]>
}

/** A store that can be written. What was answered is durable. */
export interface BlobStore extends BlobReader {
  /** The size of a blob, or undefined when the store does not have it. */
  size(digest: BlobDigest, signal?: AbortSignal): Promise<number | undefined>

  /**
   * Keeps a blob. A blob that is there already is left as it is. Never leaves part of a blob under its digest.
   *
   * @param bytes whose SHA-256 is `digest`: the store may check. Once it has answered it does not look at them any more
   * @throws {BlobError} BLOB_NO_SPACE, BLOB_UNAVAILABLE, BLOB_DENIED, BLOB_WRONG_ANSWER when the bytes are others
   */
  put(digest: BlobDigest, bytes: Uint8Array, signal?: AbortSignal): Promise<void>

  /** Names an OCI manifest, all of whose blobs the store has. Another manifest of that name is replaced. */
  tag(reference: ImageReference, manifest: Uint8Array, signal?: AbortSignal): Promise<void>

  /** Takes a name away; blobs stay until they are collected. @returns false when there was none */
  untag(reference: ImageReference, signal?: AbortSignal): Promise<boolean>
}

/** OCI distribution: registries should take manifests of at least 4 MiB. */
export const maximumManifestBytes = 4_194_304
