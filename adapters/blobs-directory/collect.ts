import { mkdir, opendir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type BlobDigest,
  BlobError,
  type Descriptor,
  decodeOciIndex,
  digestOf,
  maximumManifestBytes,
  mediaTypes,
  neededDigests,
  type OciIndex,
  parseDigest,
} from '#core/blobs/index.ts'
import type { BlobFiles } from './blob-files.ts'
import { unless } from './file-error.ts'
import type { FolderLock } from './folder-lock.ts'
import { type Layout, readIndex } from './layout.ts'
import { believedPins, readPin } from './pins.ts'

export interface CollectOptions {
  /** Blobs that were used within this time stay: longer than the longest import, a day for example. */
  readonly graceMs: number
  /** Milliseconds since 1970. */
  readonly now: number
  readonly signal?: AbortSignal
}

/** What a collection found and did. */
export interface Collection {
  /** Blobs that an image or a pin needs. */
  readonly needed: number
  /** Blobs that nothing needs, put or used within the time of grace. */
  readonly young: number
  readonly deleted: number
  readonly freedBytes: number
}

/** How many blobs are deleted under one hold of the lock, so that others wait for milliseconds only. */
const batchBlobs = 256
/** What is being written is younger: a put takes seconds. */
const abandonedMs = 3_600_000
/** How deep indexes may name indexes. */
const maximumDepth = 4

/**
 * Deletes the blobs that no image in `index.json` and no pin needs, once they have been unused for the time of grace.
 *
 * Safe beside imports, readers and other collections, and when killed at any moment: what is needed is found out again
 * under the lock before each batch, and see `BlobFiles.deleteUnused`.
 *
 * @throws {BlobError} BLOB_WRONG_ANSWER, BLOB_MISSING when it cannot be known what is needed: nothing is deleted then
 */
export async function collect(
  layout: Layout,
  files: BlobFiles,
  lock: FolderLock,
  options: CollectOptions,
): Promise<Collection> {
  const { graceMs, now, signal } = options
  const before = now - graceMs
  const needs = new Needs(layout, files, now)
  await lock.hold(async () => {
    await needs.update()
    await mkdir(layout.trash, { recursive: true })
    await restoreAll(layout, files)
    await removeAbandoned(layout, Math.min(before, now - abandonedMs))
  }, signal)
  const counts = { needed: 0, young: 0, deleted: 0, freedBytes: 0 }
  const flush = (batch: readonly BlobDigest[]) =>
    lock.hold(async () => {
      await needs.update()
      for (const digest of batch) {
        const freed = needs.has(digest)
          ? undefined
          : await unless(['ENOENT'], files.deleteUnused(digest, before))
        if (freed === undefined) continue
        counts.deleted++
        counts.freedBytes += freed
      }
    }, signal)
  let batch: BlobDigest[] = []
  for await (const { name } of await opendir(layout.blobs)) {
    signal?.throwIfAborted()
    const digest = digestNamed(name)
    if (digest === undefined) continue
    if (needs.has(digest)) counts.needed++
    else if (((await unless(['ENOENT'], stat(join(layout.blobs, name))))?.mtimeMs ?? 0) > before)
      counts.young++
    else batch.push(digest)
    if (batch.length < batchBlobs) continue
    await flush(batch)
    batch = []
  }
  if (batch.length > 0) await flush(batch)
  return counts
}

/** What images and pins need, found out again whenever they have changed. */
class Needs {
  readonly #layout: Layout
  readonly #files: BlobFiles
  readonly #now: number
  /** What a manifest needs never changes. */
  readonly #ofManifest = new Map<BlobDigest, ReadonlySet<BlobDigest>>()
  readonly #ofPin = new Map<string, readonly BlobDigest[]>()
  #state = ''
  #needed: ReadonlySet<BlobDigest> = new Set()

  constructor(layout: Layout, files: BlobFiles, now: number) {
    this.#layout = layout
    this.#files = files
    this.#now = now
  }

  has(digest: BlobDigest): boolean {
    return this.#needed.has(digest)
  }

  /** Call it with the lock held: nobody else changes the index, and no pin is added. */
  async update(): Promise<void> {
    const index = await readIndex(this.#layout)
    const pins = await believedPins(this.#layout, this.#now)
    const state = [digestOf(index), ...pins].join()
    if (state === this.#state) return
    const needed = new Set<BlobDigest>()
    await this.#addIndex(decodeOciIndex(index), needed, 0)
    for (const pin of pins) {
      const digests = this.#ofPin.get(pin) ?? (await readPin(this.#layout, pin))
      this.#ofPin.set(pin, digests)
      for (const digest of digests) needed.add(digest)
    }
    this.#needed = needed
    this.#state = state
  }

  async #addIndex({ entries }: OciIndex, needed: Set<BlobDigest>, depth: number): Promise<void> {
    if (depth >= maximumDepth) throw unclear(`index.json names indexes more than ${maximumDepth} deep`)
    for (const { descriptor, raw } of entries) {
      if (descriptor === undefined) throw unclear(`index.json names ${JSON.stringify(raw).slice(0, 200)}`)
      if (descriptor.mediaType !== mediaTypes.index) {
        for (const digest of await this.#manifestNeeds(descriptor)) needed.add(digest)
      } else if (!needed.has(descriptor.digest)) {
        needed.add(descriptor.digest)
        await this.#addIndex(decodeOciIndex(await this.#read(descriptor)), needed, depth + 1)
      }
    }
  }

  async #manifestNeeds(descriptor: Descriptor): Promise<ReadonlySet<BlobDigest>> {
    const known = this.#ofManifest.get(descriptor.digest)
    if (known !== undefined) return known
    const needs = neededDigests([await this.#read(descriptor)])
    this.#ofManifest.set(descriptor.digest, needs)
    return needs
  }

  async #read({ digest, size }: Descriptor): Promise<Uint8Array> {
    if (size > maximumManifestBytes) throw unclear(`the manifest ${digest} has ${size} bytes`)
    const bytes = await this.#files.read(digest, 0, size)
    if (digestOf(bytes) !== digest) throw unclear(`the manifest ${digest} is damaged`)
    return bytes
  }
}

/** A collector that was killed may have taken out what is needed after all. */
async function restoreAll(layout: Layout, files: BlobFiles): Promise<void> {
  for (const name of await readdir(layout.trash)) {
    const digest = digestNamed(name)
    if (digest !== undefined) await files.restore(digest)
  }
}

/** Removes what writers that were killed have left. */
async function removeAbandoned({ aside }: Layout, before: number): Promise<void> {
  for (const name of (await unless(['ENOENT'], readdir(aside))) ?? []) {
    const path = join(aside, name)
    const written = (await unless(['ENOENT'], stat(path)))?.mtimeMs ?? 0
    if (written <= before) await rm(path, { force: true })
  }
}

function digestNamed(name: string): BlobDigest | undefined {
  return /^[0-9a-f]{64}$/.test(name) ? parseDigest(`sha256:${name}`) : undefined
}

function unclear(message: string): BlobError {
  return new BlobError('BLOB_WRONG_ANSWER', `nothing was collected: ${message}, so its needs are not known`, {
    remedy: 'Remove that image from this store, or keep it in a store of its own.',
  })
}
