const pageBytes = 4096
const pageBits = pageBytes * 8

/** Finds parts of the file that share mebibytes, of which all parts consist: 8 MiB of memory for 64 TiB. */
export class MebibyteClaims {
  readonly #pages = new Map<number, Uint8Array>()

  /** @returns false if another part has some of these mebibytes already */
  claim(start: number, count: number): boolean {
    for (let index = start; index < start + count; index++) {
      const page = this.#page(Math.floor(index / pageBits))
      const place = Math.floor((index % pageBits) / 8)
      const bit = 1 << (index % 8)
      const bits = page[place] ?? 0
      if ((bits & bit) !== 0) return false
      page[place] = bits | bit
    }
    return true
  }

  #page(index: number): Uint8Array {
    const page = this.#pages.get(index) ?? new Uint8Array(pageBytes)
    this.#pages.set(index, page)
    return page
  }
}
