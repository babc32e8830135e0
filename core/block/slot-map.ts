import { OverlayError } from './overlay-error.ts'
import type { SlotRun } from './slot-store.ts'

const pageBlocks = 1024
/** A disk of terabytes is opened as soon as a small one: groups are made when one of their pages is. */
const groupPages = 1024
const mostBlocks = 2 ** 32 - 2
const absent = 0
const zero = 1
/** Values from here on are slots. */
const firstSlot = 2

interface Page {
  readonly slots: Uint32Array
  readonly marks: BigUint64Array | undefined
}

/**
 * Which slot each block of a disk is in: 4 bytes a block, 12 with marks, and only around blocks that are kept. Runs of
 * zeros cost nothing, however long.
 */
export class SlotMap {
  readonly blocks: number
  readonly #marked: boolean
  readonly #pages: number
  readonly #groups: ((Page | undefined)[] | undefined)[]
  /** Stands for every page of zeros; never written to. */
  readonly #zeroPage: Page

  /**
   * @param marked whether each block has 64 bits beside its slot
   * @throws {OverlayError} OVERLAY_TOO_LARGE
   */
  constructor(blocks: number, marked = false) {
    if (blocks > mostBlocks) {
      throw new OverlayError('OVERLAY_TOO_LARGE', `expected at most ${mostBlocks} blocks, got ${blocks}`)
    }
    this.blocks = blocks
    this.#marked = marked
    this.#pages = Math.ceil(blocks / pageBlocks)
    this.#groups = Array.from({ length: Math.ceil(this.#pages / groupPages) })
    this.#zeroPage = this.#newPage(zero)
  }

  /** The slot of a block; undefined when it has none. */
  slotOf(block: number): number | undefined {
    const value = this.#page(Math.floor(block / pageBlocks))?.slots[block % pageBlocks] ?? absent
    return value < firstSlot ? undefined : value - firstSlot
  }

  markOf(block: number): bigint {
    return this.#page(Math.floor(block / pageBlocks))?.marks?.[block % pageBlocks] ?? 0n
  }

  /** As `SlotStore.run`. */
  run(block: number, most: number): SlotRun {
    const kind = this.#kindOf(block)
    let count = 1
    while (count < most) {
      const next = block + count
      const page = this.#page(Math.floor(next / pageBlocks))
      const isUniform = page === undefined || page === this.#zeroPage
      if (this.#kindOf(next) !== kind) break
      count += isUniform ? pageBlocks - (next % pageBlocks) : 1
    }
    return { kind, count: Math.min(count, most) }
  }

  /** @returns the slot that the block was in before */
  setSlot(block: number, slot: number, mark = 0n): number | undefined {
    const before = this.slotOf(block)
    const page = this.#ownPage(Math.floor(block / pageBlocks))
    page.slots[block % pageBlocks] = slot + firstSlot
    if (page.marks) page.marks[block % pageBlocks] = mark
    return before
  }

  /** @param release told of each slot that a block was in before */
  setZero(block: number, count: number, release: (slot: number) => void): void {
    const end = block + count
    for (let at = block; at < end; ) {
      const index = Math.floor(at / pageBlocks)
      const until = Math.min(end, (index + 1) * pageBlocks)
      if (this.#page(index) !== this.#zeroPage) this.#zeroWithin(index, at, until, release)
      at = until
    }
  }

  /** All blocks that are kept, in order, as runs; data in runs of one block. */
  *entries(): Generator<{ block: number; run: SlotRun }, void, undefined> {
    for (let index = 0; index < this.#pages; index++) {
      if (this.#page(index) === undefined) {
        // Nothing is in the rest of its group either.
        if (this.#groups[Math.floor(index / groupPages)] === undefined) index |= groupPages - 1
        continue
      }
      const end = Math.min(this.blocks, (index + 1) * pageBlocks)
      for (let block = index * pageBlocks; block < end; ) {
        const isData = this.#kindOf(block) === 'data'
        const run = isData ? { kind: 'data' as const, count: 1 } : this.run(block, end - block)
        if (run.kind !== 'absent') yield { block, run }
        block += run.count
      }
    }
  }

  #kindOf(block: number): SlotRun['kind'] {
    const value = this.#page(Math.floor(block / pageBlocks))?.slots[block % pageBlocks] ?? absent
    return value === absent ? 'absent' : value === zero ? 'zero' : 'data'
  }

  #zeroWithin(index: number, from: number, until: number, release: (slot: number) => void): void {
    for (let block = from; block < until; block++) {
      const slot = this.slotOf(block)
      if (slot !== undefined) release(slot)
    }
    if (until - from === pageBlocks) {
      this.#put(index, this.#zeroPage)
      return
    }
    const start = index * pageBlocks
    this.#ownPage(index).slots.fill(zero, from - start, until - start)
  }

  #ownPage(index: number): Page {
    const page = this.#page(index)
    if (page !== undefined && page !== this.#zeroPage) return page
    const own = this.#newPage(page === undefined ? absent : zero)
    this.#put(index, own)
    return own
  }

  #page(index: number): Page | undefined {
    return this.#groups[Math.floor(index / groupPages)]?.[index % groupPages]
  }

  #put(index: number, page: Page): void {
    const at = Math.floor(index / groupPages)
    const group = (this.#groups[at] ??= Array.from({ length: groupPages }))
    group[index % groupPages] = page
  }

  #newPage(value: number): Page {
    return {
      slots: new Uint32Array(pageBlocks).fill(value),
      marks: this.#marked ? new BigUint64Array(pageBlocks) : undefined,
    }
  }
}
