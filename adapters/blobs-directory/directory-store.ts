import {
  type BlobDigest,
  BlobError,
  type BlobStore,
  type Descriptor,
  decodeOciIndex,
  decodeOciManifest,
  digestOf,
  encodeOciIndex,
  findImage,
  type ImageReference,
  maximumManifestBytes,
  mediaTypes,
  neededDigests,
  type OciIndex,
  requireReference,
  withImage,
  withoutImage,
} from '#core/blobs/index.ts'
import { BlobFiles } from './blob-files.ts'
import { type Collection, type CollectOptions, collect } from './collect.ts'
import { replaceFile } from './durable.ts'
import { fileError } from './file-error.ts'
import { FolderLock } from './folder-lock.ts'
import { type Layout, openLayout, readIndex } from './layout.ts'
import { writePin } from './pins.ts'

/**
 * A store in a folder: an OCI image layout, which skopeo and others read and write as `oci:FOLDER:NAME:VERSION`.
 *
 * `size` and `put` of a blob that is there count as its use: an import that builds on it has the time of grace of
 * `collect` to name its image. So does `untag` for the blobs of the image that it takes the name from.
 * Any number of processes may use one folder. Without permission to write it can still be read.
 */
export interface DirectoryStore extends BlobStore {
  /**
   * Deletes the blobs that nothing needs.
   *
   * @throws {BlobError} BLOB_DENIED; BLOB_WRONG_ANSWER, BLOB_MISSING when it cannot be known what is needed
   */
  collect(options: CollectOptions): Promise<Collection>

  /**
   * Keeps blobs from being collected, by whatever process, until the result is disposed of; when this process ends
   * without doing so, for five minutes more. A digest of a manifest stands for all that it names.
   *
   * @throws {BlobError} BLOB_MISSING when one is not there (any more); BLOB_DENIED where nothing can be written
   */
  pin(digests: readonly BlobDigest[], signal?: AbortSignal): Promise<AsyncDisposable>
}

/** How many files are looked at together. */
const parallelFiles = 32

/**
 * @param options.create makes the layout in a folder that is empty or not there
 * @throws {BlobError} BLOB_BAD_STORE, BLOB_DENIED, BLOB_NO_SPACE, BLOB_WRONG_ANSWER
 */
export async function openDirectoryStore(
  path: string,
  options: { readonly create?: boolean } = {},
): Promise<DirectoryStore> {
  return new LayoutStore(await coded(path, () => openLayout(path, options.create ?? false)))
}

class LayoutStore implements DirectoryStore {
  readonly name: string
  readonly #layout: Layout
  readonly #files: BlobFiles
  readonly #lock: FolderLock

  constructor(layout: Layout) {
    this.name = layout.root
    this.#layout = layout
    this.#files = new BlobFiles(layout)
    this.#lock = new FolderLock(layout.lock)
  }

  async read(digest: BlobDigest, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#files.read(digest, offset, length, signal)
  }

  async manifest(reference: ImageReference, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    requireReference(reference)
    return this.#do(async () => {
      const descriptor = findImage(await this.#index(), reference)
      return descriptor && (await this.#readManifest(descriptor, signal))
    }, signal)
  }

  async references(signal?: AbortSignal): Promise<readonly ImageReference[]> {
    return this.#do(async () => {
      const { entries } = await this.#index()
      return entries.flatMap(({ reference }) => (reference === undefined ? [] : [reference]))
    }, signal)
  }

  async size(digest: BlobDigest, signal?: AbortSignal): Promise<number | undefined> {
    return this.#do(() => this.#files.touch(digest), signal)
  }

  async put(digest: BlobDigest, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.#do(() => this.#files.put(digest, bytes), signal)
  }

  /** @throws {BlobError} BLOB_MISSING when the store lacks one of its blobs; BLOB_WRONG_ANSWER when it is no manifest */
  async tag(reference: ImageReference, manifest: Uint8Array, signal?: AbortSignal): Promise<void> {
    requireReference(reference)
    const { config, layers } = decodeOciManifest(manifest)
    const descriptor = { mediaType: mediaTypes.manifest, digest: digestOf(manifest), size: manifest.length }
    const change = async () => {
      const index = await this.#index()
      // Under the lock, so that nothing is collected between this look and the new name.
      await this.#files.put(descriptor.digest, manifest)
      await inParallel([config, ...layers], (blob) => this.#requireBlob(blob))
      await this.#files.syncNames()
      await this.#release(findImage(index, reference))
      await this.#writeIndex(withImage(index, reference, descriptor))
    }
    return this.#do(() => this.#lock.hold(change, signal), signal)
  }

  async untag(reference: ImageReference, signal?: AbortSignal): Promise<boolean> {
    requireReference(reference)
    const change = async () => {
      const index = await this.#index()
      const rest = withoutImage(index, reference)
      if (rest.entries.length === index.entries.length) return false
      await this.#release(findImage(index, reference))
      await this.#writeIndex(rest)
      return true
    }
    return this.#do(() => this.#lock.hold(change, signal), signal)
  }

  async collect(options: CollectOptions): Promise<Collection> {
    return this.#do(() => collect(this.#layout, this.#files, this.#lock, options), options.signal)
  }

  async pin(digests: readonly BlobDigest[], signal?: AbortSignal): Promise<AsyncDisposable> {
    const write = async () => {
      const needed = new Set<BlobDigest>()
      for (const digest of digests) {
        for (const each of await this.#needs(digest)) needed.add(each)
      }
      await inParallel([...needed], async (digest) => {
        await this.#requireBlob({ digest })
      })
      return writePin(this.#layout, needed)
    }
    return this.#do(() => this.#lock.hold(write, signal), signal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#files[Symbol.asyncDispose]()
  }

  async #index(): Promise<OciIndex> {
    return decodeOciIndex(await readIndex(this.#layout))
  }

  async #writeIndex(index: OciIndex): Promise<void> {
    await replaceFile(this.#layout.index, encodeOciIndex(index), this.#layout.aside)
  }

  async #readManifest({ digest, size }: Descriptor, signal?: AbortSignal): Promise<Uint8Array> {
    if (size > maximumManifestBytes) {
      throw new BlobError(
        'BLOB_WRONG_ANSWER',
        `${digest}: expected a manifest of at most ${maximumManifestBytes} bytes, got ${size}`,
      )
    }
    const bytes = await this.#files.read(digest, 0, size, signal)
    if (digestOf(bytes) === digest) return bytes
    throw new BlobError('BLOB_WRONG_ANSWER', `the manifest ${digest} is damaged: it has another digest`)
  }

  /** A blob of the right size is there, and is not collected as long as this store holds the lock. */
  async #requireBlob({
    digest,
    size,
  }: {
    readonly digest: BlobDigest
    readonly size?: number
  }): Promise<void> {
    let found = await this.#files.size(digest)
    if (found === undefined) {
      await this.#files.restore(digest)
      found = await this.#files.size(digest)
    }
    if (found === undefined) {
      throw new BlobError('BLOB_MISSING', `the store has no ${digest}, which the image needs`, {
        remedy: 'Import the image again.',
      })
    }
    if (size !== undefined && found !== size) {
      throw new BlobError('BLOB_WRONG_ANSWER', `${digest}: expected ${size} bytes, got ${found}`)
    }
  }

  /** What loses its name is unused from now on, not since it was written. */
  async #release(descriptor: Descriptor | undefined): Promise<void> {
    if (descriptor === undefined) return
    const needs = await this.#needs(descriptor.digest)
    await inParallel([...needs], (digest) => this.#files.touch(digest))
  }

  /** The blob and, if it is a manifest, what that names. */
  async #needs(digest: BlobDigest): Promise<ReadonlySet<BlobDigest>> {
    const size = await this.#files.size(digest)
    if (size === undefined || size > maximumManifestBytes) return new Set([digest])
    const bytes = await this.#files.read(digest, 0, size)
    // Anything but a manifest may be named here, and it may be damaged.
    const isManifest = digestOf(bytes) === digest && isJson(bytes)
    try {
      return isManifest ? neededDigests([bytes]) : new Set([digest])
    } catch {
      return new Set([digest])
    }
  }

  async #do<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    return coded(this.name, action, signal)
  }
}

function isJson(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7b
}

async function coded<T>(name: string, action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error
    throw fileError(error, name)
  }
}

async function inParallel<T>(items: readonly T[], action: (item: T) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += parallelFiles) {
    await Promise.all(items.slice(at, at + parallelFiles).map(action))
  }
}
