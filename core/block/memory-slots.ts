import { overlayFull } from './overlay-error.ts'
import { SlotMap } from './slot-map.ts'
import { type SlotRun, type SlotStore, slotBytes } from './slot-store.ts'

const arenaSlots = 256

/** Blocks in memory. Nothing outlives the process. */
export interface MemorySlots extends SlotStore {
  readonly isKept: false
  /** How many more blocks there is room for. */
  readonly free: number
}

/**
 * @param blocks how many the disk has
 * @param maximumBytes of data; rounded down to whole blocks
 */
export function memorySlots(blocks: number, maximumBytes: number): MemorySlots {
  return new Memory(blocks, Math.floor(maximumBytes / slotBytes))
}

class Memory implements MemorySlots {
  readonly isKept = false
  readonly #map: SlotMap
  readonly #capacity: number
  /** Slots in pieces of 1 MiB, made when they are needed. */
  readonly #arenas: Uint8Array[] = []
  readonly #released: number[] = []
  /** Slots that were ever used. */
  #used = 0

  constructor(blocks: number, capacity: number) {
    this.#map = new SlotMap(blocks)
    this.#capacity = capacity
  }

  get free(): number {
    return this.#capacity - this.#used + this.#released.length
  }

  run(block: number, most: number): SlotRun {
    return this.#map.run(block, most)
  }

  async read(block: number, count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count * slotBytes)
    for (let index = 0; index < count; index++) {
      const slot = this.#map.slotOf(block + index)
      if (slot !== undefined) bytes.set(this.#slot(slot), index * slotBytes)
    }
    return bytes
  }

  async write(block: number, bytes: Uint8Array): Promise<void> {
    const count = bytes.length / slotBytes
    let fresh = 0
    for (let index = 0; index < count; index++) {
      if (this.#map.slotOf(block + index) === undefined) fresh++
    }
    if (fresh > this.free) {
      throw overlayFull(`${this.#capacity * slotBytes} bytes of memory are in use`)
    }
    for (let index = 0; index < count; index++) {
      const slot = this.#map.slotOf(block + index) ?? this.#take(block + index)
      this.#slot(slot).set(bytes.subarray(index * slotBytes, (index + 1) * slotBytes))
    }
  }

  async zero(block: number, count: number): Promise<void> {
    this.#map.setZero(block, count, (slot) => this.#released.push(slot))
  }

  async flush(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.#arenas.length = 0
  }

  #take(block: number): number {
    const slot = this.#released.pop() ?? this.#used++
    this.#map.setSlot(block, slot)
    return slot
  }

  #slot(slot: number): Uint8Array {
    const arena = Math.floor(slot / arenaSlots)
    const memory = (this.#arenas[arena] ??= new Uint8Array(arenaSlots * slotBytes))
    const start = (slot % arenaSlots) * slotBytes
    return memory.subarray(start, start + slotBytes)
  }
}
