const pageSlots = 1024

/**
 * Finds blocks of one length that share a part of the file. A slot of that length can hold the start of at most one
 * block when none overlap, so four bytes for each block of the file are enough, whatever the order.
 */
export class BlockClaims {
  readonly #length: number
  /** By slot: where in it a block starts, plus one. */
  readonly #pages = new Map<number, Uint32Array>()

  /** @param length of every block, in sectors */
  constructor(length: number) {
    this.#length = length
  }

  /** @returns false if another block has some of these sectors already */
  claim(start: number): boolean {
    const slot = Math.floor(start / this.#length)
    const within = start % this.#length
    const before = this.#startIn(slot - 1)
    const after = this.#startIn(slot + 1)
    if (this.#startIn(slot) !== undefined) return false
    if (before !== undefined && before > within) return false
    if (after !== undefined && after < within) return false
    this.#page(slot)[slot % pageSlots] = within + 1
    return true
  }

  #startIn(slot: number): number | undefined {
    const stored = this.#pages.get(Math.floor(slot / pageSlots))?.[slot % pageSlots] ?? 0
    return stored === 0 ? undefined : stored - 1
  }

  #page(slot: number): Uint32Array {
    const index = Math.floor(slot / pageSlots)
    const page = this.#pages.get(index) ?? new Uint32Array(pageSlots)
    this.#pages.set(index, page)
    return page
  }
}
