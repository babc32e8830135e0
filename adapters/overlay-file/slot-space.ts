/** Neighbouring slots of the file. */
export interface SlotRange {
  readonly slot: number
  readonly count: number
}

/** Free slots are left alone while they are fewer than this, or than a quarter of all: long writes are quicker. */
const leastFree = 4096

/** Knows which slots of the file are in use: one bit for each. */
export class SlotSpace {
  readonly #most: number
  #used = new Uint32Array(1024)
  /** Slots from here on were never used. */
  #end = 0
  #free = 0
  /** Where the last search ended. */
  #cursor = 0

  /** @param most how many slots there may be */
  constructor(most: number) {
    this.#most = most
  }

  /**
   * Takes slots, if possible in one piece at the end.
   *
   * @param whole false to take what is free, in whatever pieces, rather than to make the file longer
   * @returns undefined when there are not so many
   */
  allocate(count: number, whole = true): SlotRange[] | undefined {
    const isTidy = this.#free < Math.max(leastFree, this.#end / 4, count)
    if (whole && isTidy && this.#end + count <= this.#most) {
      const slot = this.#end
      for (let index = 0; index < count; index++) this.occupy(slot + index)
      return [{ slot, count }]
    }
    if (this.#free < count) return undefined
    return this.#gather(count)
  }

  /** Notes that a slot is in use. */
  occupy(slot: number): void {
    const word = slot >>> 5
    if (word >= this.#used.length) {
      const larger = new Uint32Array(Math.max(word + 1, this.#used.length * 2))
      larger.set(this.#used)
      this.#used = larger
    }
    if (this.#isUsed(slot)) return
    this.#used[word] = (this.#used[word] ?? 0) | (1 << (slot & 31))
    if (slot >= this.#end) {
      this.#free += slot - this.#end
      this.#end = slot + 1
    } else {
      this.#free--
    }
  }

  release(slot: number): void {
    if (!this.#isUsed(slot)) return
    this.#used[slot >>> 5] = (this.#used[slot >>> 5] ?? 0) & ~(1 << (slot & 31))
    this.#free++
    while (this.#end > 0 && !this.#isUsed(this.#end - 1)) {
      this.#end--
      this.#free--
    }
  }

  #gather(count: number): SlotRange[] {
    const ranges: { slot: number; count: number }[] = []
    let left = count
    for (let steps = 0; left > 0 && steps < 2 * this.#end + 64; steps++) {
      if (this.#cursor >= this.#end) this.#cursor = 0
      const slot = this.#cursor++
      // A word without a free slot is passed over at once.
      if ((slot & 31) === 0 && this.#used[slot >>> 5] === 0xffff_ffff) this.#cursor = slot + 32
      if (this.#isUsed(slot)) continue
      this.occupy(slot)
      left--
      const last = ranges.at(-1)
      if (last !== undefined && last.slot + last.count === slot) last.count++
      else ranges.push({ slot, count: 1 })
    }
    return ranges
  }

  #isUsed(slot: number): boolean {
    return (((this.#used[slot >>> 5] ?? 0) >>> (slot & 31)) & 1) === 1
  }
}
