import type { MemorySlots } from './memory-slots.ts'
import { settled } from './settled.ts'
import { type SlotRun, type SlotStore, slotBytes } from './slot-store.ts'

type Discarded = SlotStore & { readonly isKept: false }

/**
 * Blocks in memory first; what finds no room there goes to `second`, and stays there. Owns both.
 *
 * For overlays that are discarded in the end: a flush could not make what is in memory durable.
 */
export function spilledSlots(first: MemorySlots, second: Discarded): Discarded {
  return new Spilled(first, second)
}

class Spilled implements Discarded {
  readonly isKept = false
  readonly #first: MemorySlots
  readonly #second: Discarded

  constructor(first: MemorySlots, second: Discarded) {
    this.#first = first
    this.#second = second
  }

  run(block: number, most: number): SlotRun {
    const { kind, count: start } = this.#part(block, most).run
    let count = start
    while (count < most) {
      const next = this.#part(block + count, most - count).run
      if (next.kind !== kind) break
      count += next.count
    }
    return { kind, count }
  }

  async read(block: number, count: number): Promise<Uint8Array> {
    const parts: { at: number; bytes: Promise<Uint8Array> }[] = []
    for (let at = 0; at < count; ) {
      const { run, holder = this.#second } = this.#part(block + at, count - at)
      parts.push({ at, bytes: holder.read(block + at, run.count) })
      at += run.count
    }
    const [only] = parts
    if (parts.length === 1 && only) return only.bytes
    const whole = new Uint8Array(count * slotBytes)
    await Promise.all(parts.map(async ({ at, bytes }) => whole.set(await bytes, at * slotBytes)))
    return whole
  }

  async write(block: number, bytes: Uint8Array): Promise<void> {
    const count = bytes.length / slotBytes
    const writes: Promise<void>[] = []
    for (let at = 0; at < count; ) {
      const { run, holder } = this.#part(block + at, count - at)
      const { free } = this.#first
      // In memory only what is data already needs no room.
      const fits = holder === this.#first && run.kind === 'data' ? run.count : Math.min(run.count, free)
      const [target, length] =
        holder === this.#second || fits === 0 ? [this.#second, run.count] : [this.#first, fits]
      // Memory is written before the call returns: nobody else can take the room that was just seen.
      writes.push(target.write(block + at, bytes.subarray(at * slotBytes, (at + length) * slotBytes)))
      at += length
    }
    await settled(writes)
  }

  async zero(block: number, count: number): Promise<void> {
    for (let at = 0; at < count; ) {
      const { run, holder = this.#first } = this.#part(block + at, count - at)
      await holder.zero(block + at, run.count)
      at += run.count
    }
  }

  async flush(): Promise<void> {
    await this.#second.flush()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#first[Symbol.asyncDispose]()
    await this.#second[Symbol.asyncDispose]()
  }

  /** Neighbouring blocks that are in one of the two, or in none. What `second` has overtook zeros in the first. */
  #part(block: number, most: number): { run: SlotRun; holder: SlotStore | undefined } {
    const inSecond = this.#second.run(block, most)
    if (inSecond.kind !== 'absent') return { run: inSecond, holder: this.#second }
    const inFirst = this.#first.run(block, inSecond.count)
    return { run: inFirst, holder: inFirst.kind === 'absent' ? undefined : this.#first }
  }
}
