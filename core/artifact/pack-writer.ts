import { type BlobDigest, type BlobStore, digestOf } from '#core/blobs/index.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import type { StoredChunk } from './build-index.ts'
import type { ImportJournal, SealedChunk } from './import-image.ts'

/** Packs on their way to the store at once, at most. */
const mostParallel = 4
/** Of those, if they are large: the time of one is enough for the next to fill. */
const parallelBytes = 67_108_864

interface OpenPack {
  readonly parts: Uint8Array[]
  readonly chunks: {
    readonly digest: Uint8Array
    readonly offset: number
    readonly length: number
  }[]
  readonly named: PromiseWithResolvers<BlobDigest>
  bytes: number
}

/** Puts chunks one after another into packs, and full packs into a store. */
export class PackWriter {
  readonly #store: BlobStore
  readonly #packBytes: number
  readonly #parallel: number
  readonly #journal: ImportJournal
  readonly #signal: AbortSignal
  readonly #sizes = new Map<BlobDigest, number>()
  readonly #sending = new Set<Promise<void>>()
  #pack = emptyPack()
  #failure: { readonly error: unknown } | undefined
  #bytesStored = 0

  constructor(options: {
    readonly store: BlobStore
    readonly packBytes: number
    readonly journal: ImportJournal
    readonly signal: AbortSignal
  }) {
    this.#store = options.store
    this.#packBytes = options.packBytes
    this.#parallel = Math.max(2, Math.min(mostParallel, Math.floor(parallelBytes / options.packBytes)))
    this.#journal = options.journal
    this.#signal = options.signal
  }

  /** In the store for good, bytes. */
  get bytesStored(): number {
    return this.#bytesStored
  }

  /** Waits while much is on its way already. @throws what went wrong on it */
  async room(): Promise<void> {
    this.#signal.throwIfAborted()
    while (this.#sending.size >= this.#parallel) await Promise.race(this.#sending)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** @returns where the chunk lies, once its pack is in the store */
  async add({ digest, stored }: SealedChunk): Promise<StoredChunk> {
    const pack = this.#pack
    const { length } = stored
    const offset = pack.bytes
    pack.parts.push(stored)
    pack.chunks.push({ digest, offset, length })
    pack.bytes += length
    if (pack.bytes >= this.#packBytes) this.#send()
    return { digest, pack: await pack.named.promise, offset, length }
  }

  /** @returns the sizes of all packs that were written */
  async finish(): Promise<ReadonlyMap<BlobDigest, number>> {
    if (this.#pack.bytes > 0) this.#send()
    await Promise.all(this.#sending)
    if (this.#failure !== undefined) throw this.#failure.error
    return this.#sizes
  }

  #send(): void {
    const pack = this.#pack
    this.#pack = emptyPack()
    const sending = this.#put(pack)
      .catch((error: unknown) => {
        this.#failure ??= { error }
        pack.named.reject(error)
      })
      .finally(() => this.#sending.delete(sending))
    this.#sending.add(sending)
  }

  async #put({ parts, chunks, named, bytes: size }: OpenPack): Promise<void> {
    const bytes = Buffer.concat(parts, size)
    // What is a copy now takes no memory until it is stored.
    for (const part of parts) giveBack(part)
    parts.length = 0
    const digest = digestOf(bytes)
    await this.#store.put(digest, bytes, this.#signal)
    giveBack(bytes)
    this.#sizes.set(digest, size)
    this.#bytesStored += size
    await this.#journal.record(
      digest,
      size,
      chunks.map((chunk) => ({ ...chunk, pack: digest })),
    )
    named.resolve(digest)
  }
}

function emptyPack(): OpenPack {
  const named = Promise.withResolvers<BlobDigest>()
  // Those who wait for it are told; if nobody does, nobody must be.
  named.promise.catch(() => {})
  return { parts: [], chunks: [], named, bytes: 0 }
}
