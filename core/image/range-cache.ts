import type { ByteSource } from '#core/block/block-device.ts'

const maximumBytes = 4 << 20
/** About what keeping a range costs beside its bytes. */
const overheadBytes = 256

interface Cached {
  readonly length: number
  readonly bytes: Promise<Uint8Array>
}

/**
 * Reads small structures (pages of tables, bitmaps) and keeps the ones used last, at most 4 MiB of them.
 *
 * Ranges do not overlap, except that a range may be asked for again. Several callers share one read.
 */
export class RangeCache {
  readonly #source: ByteSource
  readonly #ranges = new Map<number, Cached>()
  #keptBytes = 0

  constructor(source: ByteSource) {
    this.#source = source
  }

  /** @param check sees what was read before anybody uses it; when it throws the range is not kept */
  async get(at: number, length: number, check?: (bytes: Uint8Array) => void): Promise<Uint8Array> {
    const known = this.#ranges.get(at)
    if (known !== undefined) {
      // A Map is in order of insertion: the first is the one not used for longest.
      this.#ranges.delete(at)
      this.#ranges.set(at, known)
      return known.bytes
    }
    const cached = { length, bytes: this.#load(at, length, check) }
    this.#ranges.set(at, cached)
    this.#keptBytes += length + overheadBytes
    this.#evict()
    try {
      return await cached.bytes
    } catch (error) {
      if (this.#ranges.get(at) === cached) this.#forget(at, cached)
      throw error
    }
  }

  /** No signal: one caller that leaves must not fail the others. A copy, so that nothing larger is kept alive. */
  async #load(at: number, length: number, check?: (bytes: Uint8Array) => void): Promise<Uint8Array> {
    const bytes = Uint8Array.from(await this.#source.read(BigInt(at), length))
    check?.(bytes)
    return bytes
  }

  #evict(): void {
    for (const [at, cached] of this.#ranges) {
      if (this.#keptBytes <= maximumBytes) return
      this.#forget(at, cached)
    }
  }

  #forget(at: number, { length }: Cached): void {
    this.#ranges.delete(at)
    this.#keptBytes -= length + overheadBytes
  }
}
