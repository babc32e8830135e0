/** Which pieces of a disk something holds for: a bit each. */
export class PieceSet {
  /** How many pieces there are. */
  readonly pieces: number
  readonly #words: Uint32Array
  #size = 0

  constructor(pieces: number) {
    this.pieces = pieces
    this.#words = new Uint32Array(Math.ceil(pieces / 32))
  }

  /** For how many it holds. */
  get size(): number {
    return this.#size
  }

  has(piece: number): boolean {
    return (((this.#words[piece >>> 5] ?? 0) >>> (piece & 31)) & 1) === 1
  }

  add(first: number, count = 1): void {
    this.#change(first, count, (word, mask) => word | mask)
  }

  delete(first: number, count = 1): void {
    this.#change(first, count, (word, mask) => word & ~mask)
  }

  /** @param other of a disk of as many pieces */
  addAll(other: PieceSet): void {
    for (const { first, count } of other.runs()) this.add(first, count)
  }

  clone(): PieceSet {
    const copy = new PieceSet(this.pieces)
    copy.#words.set(this.#words)
    copy.#size = this.#size
    return copy
  }

  /** The first from `from` on; undefined when there is none. */
  next(from: number): number | undefined {
    let index = from >>> 5
    let word = (this.#words[index] ?? 0) & (~0 << (from & 31))
    while (word === 0) {
      index++
      if (index >= this.#words.length) return undefined
      word = this.#words[index] ?? 0
    }
    return index * 32 + (31 - Math.clz32(word & -word))
  }

  /** In order, neighbours together. */
  *runs(): Generator<{ readonly first: number; readonly count: number }, void, undefined> {
    for (let first = this.next(0); first !== undefined; ) {
      let end = first + 1
      while (end < this.pieces && this.has(end)) {
        // A word of ones is passed over at once.
        end += (end & 31) === 0 && this.#words[end >>> 5] === 0xffff_ffff ? 32 : 1
      }
      yield { first, count: Math.min(end, this.pieces) - first }
      first = end < this.pieces ? this.next(end) : undefined
    }
  }

  #change(first: number, count: number, change: (word: number, mask: number) => number): void {
    const end = Math.min(first + count, this.pieces)
    for (let at = first; at < end; ) {
      const index = at >>> 5
      const until = Math.min(end, (index + 1) * 32)
      const mask = (until - at === 32 ? ~0 : ((1 << (until - at)) - 1) << (at & 31)) >>> 0
      const before = this.#words[index] ?? 0
      const after = change(before, mask) >>> 0
      if (after !== before) {
        this.#words[index] = after
        this.#size += onesIn(after) - onesIn(before)
      }
      at = until
    }
  }
}

/** Counts in parallel: pairs, then nibbles, then bytes. */
function onesIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555)
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333)
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
