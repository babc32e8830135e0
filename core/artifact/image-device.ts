import { type BlockDevice, type Extent, requireRange } from '#core/block/block-device.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import { fanOut } from '#core/merkle/index.ts'
import { openChunk } from './chunk.ts'
import type { ChunkReader, Wish } from './chunk-reader.ts'
import { ArtifactError } from './errors.ts'
import type { ImageIndex } from './image-index.ts'
import { type ChunkKeys, wipeKeys } from './image-key.ts'
import { chunkLength } from './index-format.ts'
import type { ImageManifest } from './manifest.ts'

export interface ImageDeviceOptions {
  readonly manifest: ImageManifest
  readonly index: ImageIndex
  readonly chunks: ChunkReader
  /** Wiped with the device. */
  readonly keys: ChunkKeys
  /** Unpacked chunks that stay in memory, bytes. */
  readonly memoryBytes: number
  /** Whether a chunk that nobody asked for may be had ready: it is on this machine, or not all that was asked for was. */
  readonly isWorthGuessing: (number: number) => boolean
  /** Aborted when the key is withdrawn: what is under way for this device ends. */
  readonly ending: AbortController
  /** Disposed of with the device. */
  readonly resources: AsyncDisposable
}

/** An unpacked chunk. */
interface Unpacked {
  readonly bytes: Uint8Array
  /** How many were given it and have not said that they are done. */
  lent: number
  /** False: only they have it. */
  isKept: boolean
  /** Asked for since it was last looked at whether it should be forgotten. */
  isUsed: boolean
}

/** A chunk on its way. */
interface Flight {
  readonly wish: Wish
  readonly chunk: Promise<Uint8Array>
  /** How many wait to be given it. */
  lent: number
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
  /** By number, in the order in which they came or were last passed over. */
  readonly #unpacked = new Map<number, Unpacked>()
  /** By memory, also those that are forgotten while somebody still has them. */
  readonly #lent = new WeakMap<ArrayBufferLike, Unpacked>()
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

  readNow(offset: number, length: number): Uint8Array | undefined {
    const number = Math.floor(offset / this.blockSize)
    const from = offset - number * this.blockSize
    const known = this.#unpacked.get(number)
    if (known === undefined || from + length > known.bytes.length) return undefined
    known.isUsed = true
    known.lent += 1
    return known.bytes.subarray(from, from + length)
  }

  done({ buffer }: Uint8Array): void {
    const chunk = this.#lent.get(buffer)
    if (chunk === undefined) return
    chunk.lent -= 1
    free(chunk)
  }

  async extents(offset: bigint, length: number): Promise<readonly Extent[]> {
    requireRange(this.sizeBytes, offset, length)
    this.#requireKey()
    return extentsOf(this.#options.index, this.blockSize, Number(offset), length)
  }

  /** Fetches what may be wanted soon, behind what is wanted now. Never fails; done when nothing of it is under way. */
  async warm(offset: number, length: number): Promise<void> {
    await this.#eachAbsent(offset, length, (number) => this.#fly(number, false).chunk)
  }

  /**
   * As `warm`, for what is only guessed. As long as all that was read lay on this machine, nothing is fetched for it: what starts again
   * reads the same in another order, and would guess something else.
   */
  async guess(offset: number, length: number): Promise<void> {
    const { isWorthGuessing } = this.#options
    await this.#eachAbsent(offset, length, async (number) => {
      if (isWorthGuessing(number)) await this.#fly(number, false).chunk
    })
  }

  /** As `warm`, but only has it kept on this machine, as it came: memory stays for what is used. */
  async keep(offset: number, length: number): Promise<void> {
    const { index, chunks } = this.#options
    // Those in memory, too: that they were fetched does not say that they were kept.
    await this.#each(offset, length, async (number) => {
      const reference = (await index.leaves(number)).at(number)
      if (reference !== undefined) await chunks.read(reference, { urgent: false }, () => undefined)
    })
  }

  /** Takes the key away: every read from now on, and those under way, fail with ARTIFACT_KEY_WITHDRAWN. */
  withdraw(reason: string): void {
    this.#withdrawn ??= new ArtifactError('ARTIFACT_KEY_WITHDRAWN', reason)
    wipeKeys(this.#options.keys)
    // Whoever was answered before keeps what they hold; nothing new is read, and what is under way fails.
    for (const [number] of this.#unpacked) this.#forget(number)
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
      this.done(chunk)
    }
    return whole
  }

  /** Has work done for each chunk of a range that is not in memory. */
  async #eachAbsent(
    offset: number,
    length: number,
    work: (number: number) => Promise<unknown>,
  ): Promise<void> {
    await this.#each(offset, length, async (number) => {
      if (!this.#unpacked.has(number)) await work(number)
    })
  }

  async #each(offset: number, length: number, work: (number: number) => Promise<unknown>): Promise<void> {
    const end = Math.min(offset + length, this.#options.manifest.sizeBytes)
    const flights: Promise<unknown>[] = []
    for (let number = Math.floor(offset / this.blockSize); number * this.blockSize < end; number++) {
      if (this.#withdrawn === undefined) flights.push(work(number))
    }
    await Promise.allSettled(flights)
  }

  #requireKey(): void {
    if (this.#withdrawn !== undefined) throw this.#withdrawn
  }

  /** Lends a chunk, at once when it is in memory. */
  #chunk(number: number): Uint8Array | Promise<Uint8Array> {
    const known = this.#unpacked.get(number)
    if (known === undefined) {
      const flight = this.#fly(number, true)
      flight.lent += 1
      return flight.chunk
    }
    known.lent += 1
    known.isUsed = true
    return known.bytes
  }

  #fly(number: number, urgent: boolean): Flight {
    const under = this.#flights.get(number)
    if (under !== undefined) {
      if (urgent && !under.wish.urgent) {
        under.wish.urgent = true
        under.wish.hurry?.()
      }
      return under
    }
    const wish: Wish = { urgent }
    const chunk = this.#fetch(number, wish).then(
      (bytes) => this.#land(number, bytes, flight),
      (error: unknown) => {
        this.#flights.delete(number)
        throw error
      },
    )
    const flight: Flight = { wish, chunk, lent: 0 }
    this.#flights.set(number, flight)
    return flight
  }

  /** @returns undefined for zeros */
  async #fetch(number: number, wish: Wish): Promise<Uint8Array | undefined> {
    const { index, chunks, keys, manifest } = this.#options
    const reference = (await index.leaves(number)).at(number)
    if (reference === undefined) return undefined
    const length = chunkLength(manifest, number)
    const { opened } = await chunks.read(reference, wish, (stored) => ({
      opened:
        this.#withdrawn === undefined ? openChunk(keys, stored, length) : Promise.reject(this.#withdrawn),
    }))
    return opened
  }

  /** All in one turn: whoever waits is counted before the chunk can be forgotten, and nobody fetches it again. */
  #land(number: number, bytes: Uint8Array | undefined, { lent }: Flight): Uint8Array {
    this.#flights.delete(number)
    this.#requireKey()
    if (bytes === undefined) return this.#zeros.subarray(0, chunkLength(this.#options.manifest, number))
    const chunk: Unpacked = { bytes, lent, isKept: true, isUsed: true }
    this.#lent.set(bytes.buffer, chunk)
    this.#unpacked.set(number, chunk)
    if (this.#unpacked.size > this.#mostUnpacked) this.#forgetOne()
    return bytes
  }

  /** The oldest that was not asked for since it was last passed over (second chance). */
  #forgetOne(): void {
    for (const [number, chunk] of this.#unpacked) {
      if (!chunk.isUsed) return this.#forget(number)
      chunk.isUsed = false
      this.#unpacked.delete(number)
      // It comes by again.
      this.#unpacked.set(number, chunk)
    }
  }

  #forget(number: number): void {
    const chunk = this.#unpacked.get(number)
    if (chunk === undefined) return
    this.#unpacked.delete(number)
    chunk.isKept = false
    free(chunk)
  }
}

function free({ bytes, lent, isKept }: Unpacked): void {
  if (lent === 0 && !isKept) giveBack(bytes)
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
