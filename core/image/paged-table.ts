import type { ByteSource } from '#core/block/block-device.ts'
import { RangeCache } from './range-cache.ts'

const pageBytes = 4096

export interface TableOptions {
  readonly source: ByteSource
  /** Where the table begins in the source. It was checked that all of it is inside. */
  readonly at: number
  readonly entries: number
  readonly entryBytes: 4 | 8
  /**
   * Checks each entry the first time that its page is read, and throws if it is wrong.
   *
   * @param page entries, one after the other
   * @param first index of the first of them in the table
   */
  readonly admit: (page: DataView, first: number) => void
}

/** An allocation table of any size, read page by page when it is needed. */
export class PagedTable {
  readonly #options: TableOptions
  readonly #cache: RangeCache
  readonly #admitted = new Set<number>()

  constructor(options: TableOptions) {
    this.#options = options
    this.#cache = new RangeCache(options.source)
  }

  /** What `decode` makes of the entry at `index`. */
  async entry<Value>(index: number, decode: (page: DataView, offset: number) => Value): Promise<Value> {
    const { at, entries, entryBytes } = this.#options
    const offset = index * entryBytes
    const start = offset - (offset % pageBytes)
    const length = Math.min(pageBytes, entries * entryBytes - start)
    const bytes = await this.#cache.get(at + start, length, (page) => this.#admit(page, start / entryBytes))
    return decode(viewOf(bytes), offset - start)
  }

  #admit(page: Uint8Array, first: number): void {
    // Blocks claim their place in the file once, however often their page is read again.
    if (this.#admitted.has(first)) return
    this.#options.admit(viewOf(page), first)
    this.#admitted.add(first)
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
