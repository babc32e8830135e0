import { type BlockDevice, type Extent, requireRange } from '#core/block/block-device.ts'
import { fanOut } from '#core/merkle/index.ts'
import { openChunk } from './chunk.ts'
import type { ChunkReader, Wish } from './chunk-reader.ts'
import { ArtifactError } from './errors.ts'
import type { ImageIndex } from './image-index.ts'
import { type ChunkKeys, wipeKeys } from './image-key.ts'
import { chunkLength } from './index-format.ts'
import type { ImageManifest } from './manifest.ts'

export interface DeviceCounts {
  /** Chunks that were in memory, unpacked, when somebody wanted them. */
  hits: number
  misses: number
}

export interface ImageDeviceOptions {
  readonly manifest: ImageManifest
  readonly index: ImageIndex
  readonly chunks: ChunkReader
  /** Wiped with the device. */
  readonly keys: ChunkKeys
  /** Unpacked chunks that stay in memory, bytes. */
  readonly memoryBytes: number
  readonly counts: DeviceCounts
  /** Aborted when the key is withdrawn: what is under way for this device ends. */
  readonly ending: AbortController
  /** Disposed of with the device. */
  readonly resources: AsyncDisposable
}

/** A chunk on its way. */
interface Flight {
  readonly wish: Wish
  readonly chunk: Promise<Uint8Array>
}

/**
 * A signed image as a read-only disk.
 *
 * INVARIANT I1: whatever is read was verified against the manifest's root, which was signed.
 * A chunk is fetched, verified and unpacked once however many ask for it at the same time.
 */
export class ImageDevice implements BlockDevice {
  readonly sizeBytes: bigint
  readonly blockSize: number
  readonly #options: ImageDeviceOptions
  readonly #zeros: Uint8Array
  /** By number; whoever was asked for last stands last. */
  readonly #unpacked = new Map<number, Uint8Array>()
  readonly #mostUnpacked: number
  readonly #flights = new Map<number, Flight>()
  #withdrawn: ArtifactError | undefined

  constructor(options: ImageDeviceOptions) {
    const { sizeBytes, chunkBytes } = options.manifest
    this.#options = options
    this.sizeBytes = BigInt(sizeBytes)
    this.blockSize = chunkBytes
    this.#zeros = new Uint8Array(chunkBytes)
    this.#mostUnpacked = Math.max(2, Math.floor(options.memoryBytes / chunkBytes))
  }

  /** @throws {ArtifactError} ARTIFACT_KEY_WITHDRAWN and what the stores answer */
  async read(offset: bigint, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    requireRange(this.sizeBytes, offset, length)
    this.#requireKey()
    const first = Math.floor(Number(offset) / this.blockSize)
    const from = Number(offset) - first * this.blockSize
    if (from + length > this.blockSize) return this.#readMany(first, from, length, signal)
    const chunk = length === 0 ? this.#zeros : this.#chunk(first)
    const ready = chunk instanceof Uint8Array ? chunk : await abortable(chunk, signal)
    return ready.subarray(from, from + length)
  }

  async extents(offset: bigint, length: number): Promise<readonly Extent[]> {
    requireRange(this.sizeBytes, offset, length)
    this.#requireKey()
    return extentsOf(this.#options.index, this.blockSize, Number(offset), length)
  }

  /** Fetches what may be wanted soon, behind what is wanted now. Never fails; done when nothing of it is under way. */
  async warm(offset: number, length: number): Promise<void> {
    await this.#eachAbsent(offset, length, (number) => this.#fly(number, false))
  }

  /** As `warm`, but only has it kept on this machine, as it came: memory stays for what is used. */
  async keep(offset: number, length: number): Promise<void> {
    const { index, chunks } = this.#options
    await this.#eachAbsent(offset, length, async (number) => {
      const reference = (await index.leaves(number)).at(number)
      if (reference !== undefined) await chunks.read(reference, { urgent: false })
    })
  }

  /** Takes the key away: every read from now on, and those under way, fail with ARTIFACT_KEY_WITHDRAWN. */
  withdraw(reason: string): void {
    this.#withdrawn ??= new ArtifactError('ARTIFACT_KEY_WITHDRAWN', reason)
    wipeKeys(this.#options.keys)
    // Whoever was answered before keeps what they hold; nothing new is read, and what is under way fails.
    this.#unpacked.clear()
    this.#options.ending.abort(this.#withdrawn)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.withdraw('the disk was closed')
    await this.#options.resources[Symbol.asyncDispose]()
  }

  async #readMany(
    first: number,
    from: number,
    length: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array> {
    const count = Math.ceil((from + length) / this.blockSize)
    const parts = Array.from({ length: count }, async (_, step) => this.#chunk(first + step))
    const chunks = await abortable(Promise.all(parts), signal)
    this.#requireKey()
    const whole = Buffer.allocUnsafe(length)
    let filled = 0
    for (const [step, chunk] of chunks.entries()) {
      const start = step === 0 ? from : 0
      const part = chunk.subarray(start, start + length - filled)
      whole.set(part, filled)
      filled += part.length
    }
    return whole
  }

  /** Has work done for each chunk of a range that is not in memory. */
  async #eachAbsent(
    offset: number,
    length: number,
    work: (number: number) => Promise<unknown>,
  ): Promise<void> {
    const end = Math.min(offset + length, this.#options.manifest.sizeBytes)
    const flights: Promise<unknown>[] = []
    for (let number = Math.floor(offset / this.blockSize); number * this.blockSize < end; number++) {
      if (this.#withdrawn === undefined && !this.#unpacked.has(number)) flights.push(work(number))
    }
    await Promise.allSettled(flights)
  }

  #requireKey(): void {
    if (this.#withdrawn !== undefined) throw this.#withdrawn
  }

  /** At once when it is in memory. */
  #chunk(number: number): Uint8Array | Promise<Uint8Array> {
    const { counts } = this.#options
    const known = this.#unpacked.get(number)
    if (known === undefined) {
      counts.misses += 1
      return this.#fly(number, true)
    }
    counts.hits += 1
    this.#unpacked.delete(number)
    this.#unpacked.set(number, known)
    return known
  }

  #fly(number: number, urgent: boolean): Promise<Uint8Array> {
    const under = this.#flights.get(number)
    if (under === undefined) {
      const wish: Wish = { urgent }
      const chunk = this.#fetch(number, wish).finally(() => this.#flights.delete(number))
      this.#flights.set(number, { wish, chunk })
      return chunk
    }
    if (urgent && !under.wish.urgent) {
      under.wish.urgent = true
      under.wish.hurry?.()
    }
    return under.chunk
  }

  async #fetch(number: number, wish: Wish): Promise<Uint8Array> {
    const { index, chunks, keys, manifest } = this.#options
    const length = chunkLength(manifest, number)
    const reference = (await index.leaves(number)).at(number)
    if (reference === undefined) return this.#zeros.subarray(0, length)
    const stored = await chunks.read(reference, wish)
    this.#requireKey()
    const chunk = await openChunk(keys, stored, length)
    this.#requireKey()
    this.#unpacked.set(number, chunk)
    for (const [oldest] of this.#unpacked) {
      if (this.#unpacked.size <= this.#mostUnpacked) break
      this.#unpacked.delete(oldest)
    }
    return chunk
  }
}

/** Waits no longer than the signal lets; what is under way goes on for others. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  if (signal.aborted) {
    // What is under way goes on for others, and its failure is theirs.
    promise.catch(() => {})
    throw signal.reason
  }
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

async function extentsOf(
  index: ImageIndex,
  chunkBytes: number,
  offset: number,
  length: number,
): Promise<readonly Extent[]> {
  const extents: { length: number; kind: Extent['kind'] }[] = []
  const end = offset + length
  for (let at = offset; at < end; ) {
    const number = Math.floor(at / chunkBytes)
    const leaves = await index.leaves(number)
    const pageEnd = leaves.first + fanOut
    for (let next = number; next < pageEnd && at < end; next = leaves.isHole ? pageEnd : next + 1) {
      const until = Math.min(end, (leaves.isHole ? pageEnd : next + 1) * chunkBytes)
      append(extents, { length: until - at, kind: leaves.at(next) === undefined ? 'hole' : 'data' })
      at = until
    }
  }
  return extents
}

function append(extents: { length: number; kind: Extent['kind'] }[], extent: Extent): void {
  const last = extents.at(-1)
  if (last?.kind === extent.kind) last.length += extent.length
  else extents.push({ ...extent })
}
