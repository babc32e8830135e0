import { link, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { type BlobDigest, BlobError, digestHex } from '#core/blobs/index.ts'
import { SharedSync, syncFolder, writeAside } from './durable.ts'
import { fileError, unless } from './file-error.ts'
import { blobPath, isWritable, type Layout } from './layout.ts'
import { OpenFiles } from './open-files.ts'

const maximumOpenFiles = 128

/** The blobs of a layout as files. */
export class BlobFiles implements AsyncDisposable {
  readonly #layout: Layout
  readonly #files = new OpenFiles(maximumOpenFiles)
  readonly #synced: SharedSync

  constructor(layout: Layout) {
    this.#layout = layout
    this.#synced = new SharedSync(() => syncFolder(layout.blobs))
  }

  /** @throws {BlobError} BLOB_MISSING, BLOB_WRONG_ANSWER, BLOB_UNAVAILABLE, BLOB_DENIED */
  async read(
    digest: BlobDigest,
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const path = blobPath(this.#layout, digest)
    signal?.throwIfAborted()
    return this.#files
      .use(path, async ({ handle, size }) => {
        signal?.throwIfAborted()
        if (!isRange(offset, length) || offset + length > size) throw outside(digest, offset, length, size)
        // Not from the pool: a view of that would keep all of it alive.
        const bytes = Buffer.allocUnsafeSlow(length)
        for (let done = 0; done < length; ) {
          const { bytesRead } = await handle.read(bytes, done, length - done, offset + done)
          if (bytesRead === 0) throw outside(digest, offset, length, offset + done)
          done += bytesRead
        }
        signal?.throwIfAborted()
        return bytes
      })
      .catch(async (error: unknown) => {
        signal?.throwIfAborted()
        // Of a folder that went away and came back, what was opened before fails for good (ESTALE, EIO).
        if (!(error instanceof BlobError)) await this.#files.drop(path)
        throw asMissing(error, digest)
      })
  }

  /**
   * Keeps a blob. Durable when it answers: its bytes are on the disk before it gets its name, and the folder's names
   * are before this answers, by one sync for all that were put meanwhile.
   */
  async put(digest: BlobDigest, bytes: Uint8Array): Promise<void> {
    const path = blobPath(this.#layout, digest)
    // One of another size is damaged, and replaced.
    if ((await this.touch(digest)) !== bytes.length) {
      await requireDigest(digest, bytes)
      await rename(await writeAside(this.#layout.aside, bytes), path)
      await this.#files.drop(path)
    }
    await this.syncNames()
  }

  /** The blobs that have a name now still have it after a loss of power. */
  syncNames(): Promise<void> {
    return this.#synced.run()
  }

  /**
   * The size of a blob, which by this counts as used now, so that it is not collected.
   *
   * @returns undefined when it is not there, or cannot be protected and must be put again
   */
  async touch(digest: BlobDigest): Promise<number | undefined> {
    const path = blobPath(this.#layout, digest)
    const now = new Date()
    // Files of other accounts cannot be touched.
    const isTouched = await unless(
      ['ENOENT', 'EPERM', 'EACCES', 'EROFS'],
      utimes(path, now, now).then(() => true),
    )
    // After the change of time, see `collect`: who still finds it here has protected it.
    const size = await this.size(digest)
    return isTouched || size === undefined || !(await isWritable(this.#layout)) ? size : undefined
  }

  /** The size of a blob, or undefined when it is not there. */
  async size(digest: BlobDigest): Promise<number | undefined> {
    return (await unless(['ENOENT'], stat(blobPath(this.#layout, digest))))?.size
  }

  /** Brings back a blob that a collector took out and, being killed, did not delete. */
  async restore(digest: BlobDigest): Promise<void> {
    const trashed = join(this.#layout.trash, digestHex(digest))
    await unless(['EEXIST', 'ENOENT'], link(trashed, blobPath(this.#layout, digest)))
    await rm(trashed, { force: true })
  }

  /**
   * Deletes a blob unless it was touched after `before` (ms since 1970).
   *
   * INVARIANT: a blob that `touch` has found is not deleted. It is looked at again when it has lost its name: whoever
   * touches it later does not find it, whoever touched it before has made it young.
   *
   * @returns its size, or undefined when it stays
   */
  async deleteUnused(digest: BlobDigest, before: number): Promise<number | undefined> {
    const trashed = join(this.#layout.trash, digestHex(digest))
    await rename(blobPath(this.#layout, digest), trashed)
    const { mtimeMs, size } = await stat(trashed)
    if (mtimeMs > before) {
      await this.restore(digest)
      return undefined
    }
    await rm(trashed)
    return size
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#files.close()
  }
}

/** Hashes on another thread: an import keeps the main one busy enough. */
async function requireDigest(digest: BlobDigest, bytes: Uint8Array): Promise<void> {
  const hash = await crypto.subtle.digest('SHA-256', bytes)
  const hex = Buffer.from(hash).toString('hex')
  if (hex !== digestHex(digest)) {
    throw new BlobError('BLOB_WRONG_ANSWER', `expected bytes of ${digest}, got those of sha256:${hex}`)
  }
}

function isRange(offset: number, length: number): boolean {
  return Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
}

function outside(digest: BlobDigest, offset: number, length: number, size: number): BlobError {
  return new BlobError(
    'BLOB_WRONG_ANSWER',
    `expected ${length} bytes at ${offset} of ${digest}, got a blob of ${size} bytes`,
  )
}

function asMissing(error: unknown, digest: BlobDigest): BlobError {
  const coded = fileError(error, digest)
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) return coded
  return new BlobError('BLOB_MISSING', `there is no ${digest}`, { cause: error })
}
