import { type BlockDevice, BlockError, type Extent, requireRange } from './block-device.ts'
import { appendExtent } from './extents.ts'
import { RangeLock } from './range-lock.ts'
import { settled } from './settled.ts'
import { type SlotRun, type SlotStore, slotBytes } from './slot-store.ts'

/**
 * A disk that can be written over one that cannot: what is written goes to `slots`, in blocks of 4 KiB, and the rest is
 * read from `base`. A part of a block that is written for the first time takes the rest of that block from the base,
 * and no more.
 *
 * Lifetime: owns both.
 * Concurrency: writes that share a block are carried out in the order in which they came.
 * Errors: those of the base and of the slots, with their codes. Whatever fails, what was written before stays readable;
 * without room a write fails with OVERLAY_FULL and the disk goes on.
 *
 * @param base its bytes must not change
 * @param slots of at least as many blocks as the base has
 */
export function overlay(base: BlockDevice, slots: SlotStore): BlockDevice {
  return new Overlay(base, slots)
}

/** How many blocks of 4 KiB an overlay of a disk of this size has. */
export function overlayBlocks(sizeBytes: bigint): number {
  return Number((sizeBytes + BigInt(slotBytes) - 1n) / BigInt(slotBytes))
}

/** A part of a range that is all in the base or all in the slots. */
interface Segment {
  /** From the start of the range. */
  readonly at: number
  readonly length: number
  readonly kind: SlotRun['kind']
  readonly block: number
  readonly count: number
  /** Bytes of the first block that lie before the segment. */
  readonly skip: number
}

class Overlay implements BlockDevice {
  readonly sizeBytes: bigint
  readonly blockSize = slotBytes
  readonly #base: BlockDevice
  readonly #slots: SlotStore
  readonly #lock = new RangeLock()
  #disposed: Promise<void> | undefined

  constructor(base: BlockDevice, slots: SlotStore) {
    this.sizeBytes = base.sizeBytes
    this.#base = base
    this.#slots = slots
  }

  async read(offset: bigint, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    this.#require(offset, length)
    return this.#read(offset, length, signal)
  }

  readNow(offset: number, length: number): Uint8Array | undefined {
    if (this.#disposed || length === 0 || offset < 0 || offset + length > Number(this.sizeBytes))
      return undefined
    const first = Math.floor(offset / slotBytes)
    const blocks = Math.ceil((offset + length) / slotBytes) - first
    const { kind, count } = this.#slots.run(first, blocks)
    return kind === 'absent' && count === blocks ? this.#base.readNow?.(offset, length) : undefined
  }

  /** Those of slots are left to the collector. */
  done(bytes: Uint8Array): void {
    this.#base.done?.(bytes)
  }

  async extents(offset: bigint, length: number, signal?: AbortSignal): Promise<readonly Extent[]> {
    this.#require(offset, length)
    const extents: Extent[] = []
    for (const segment of this.#segments(offset, length)) {
      if (segment.kind === 'absent') {
        const below = await this.#base.extents(offset + BigInt(segment.at), segment.length, signal)
        for (const extent of below) appendExtent(extents, extent)
      } else {
        appendExtent(extents, { kind: segment.kind === 'zero' ? 'hole' : 'data', length: segment.length })
      }
    }
    return extents
  }

  async write(offset: bigint, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#require(offset, bytes.length)
    signal?.throwIfAborted()
    if (bytes.length > 0) await this.#store(offset, bytes, signal)
  }

  async flush(): Promise<void> {
    this.#require(0n, 0)
    await this.#slots.flush()
  }

  async trim(offset: bigint, length: number, signal?: AbortSignal): Promise<void> {
    this.#require(offset, length)
    signal?.throwIfAborted()
    const { first, end } = this.#wholeBlocks(offset, length)
    if (first < end) await this.#zero(first, end - first)
  }

  async writeZeroes(offset: bigint, length: number, signal?: AbortSignal): Promise<void> {
    this.#require(offset, length)
    signal?.throwIfAborted()
    if (length === 0) return
    const { first, end } = this.#wholeBlocks(offset, length)
    if (first >= end) {
      await this.#store(offset, new Uint8Array(length), signal)
      return
    }
    const head = first * slotBytes - Number(offset)
    const tail = Number(offset) + length - end * slotBytes
    const parts = [this.#zero(first, end - first)]
    if (head > 0) parts.push(this.#store(offset, new Uint8Array(head), signal))
    if (tail > 0) parts.push(this.#store(BigInt(end * slotBytes), new Uint8Array(tail), signal))
    await settled(parts)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose()
    await this.#disposed
  }

  async #dispose(): Promise<void> {
    await this.#lock.idle()
    try {
      await this.#slots[Symbol.asyncDispose]()
    } finally {
      await this.#base[Symbol.asyncDispose]()
    }
  }

  #require(offset: bigint, length: number): void {
    if (this.#disposed) throw new BlockError('BLOCK_CLOSED', 'the overlay is closed')
    requireRange(this.sizeBytes, offset, length)
  }

  async #read(offset: bigint, length: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const segments = this.#segments(offset, length)
    const [only] = segments
    if (only === undefined) return new Uint8Array(0)
    if (segments.length === 1 && only.kind !== 'zero') return this.#readSegment(offset, only, signal)
    const whole = new Uint8Array(length)
    const copy = async (segment: Segment): Promise<void> => {
      const part = await this.#readSegment(offset, segment, signal)
      whole.set(part, segment.at)
      if (segment.kind === 'absent') this.done(part)
    }
    await Promise.all(segments.filter(({ kind }) => kind !== 'zero').map(copy))
    return whole
  }

  #segments(offset: bigint, length: number): Segment[] {
    const segments: Segment[] = []
    const start = Number(offset)
    for (let at = 0; at < length; ) {
      const block = Math.floor((start + at) / slotBytes)
      const skip = start + at - block * slotBytes
      const most = Math.ceil((skip + length - at) / slotBytes)
      const { kind, count } = this.#slots.run(block, most)
      const part = Math.min(length - at, count * slotBytes - skip)
      segments.push({ at, length: part, kind, block, count, skip })
      at += part
    }
    return segments
  }

  async #readSegment(offset: bigint, segment: Segment, signal?: AbortSignal): Promise<Uint8Array> {
    const { kind, at, length, block, count, skip } = segment
    if (kind === 'absent') return this.#base.read(offset + BigInt(at), length, signal)
    return (await this.#slots.read(block, count)).subarray(skip, skip + length)
  }

  /** The blocks that lie wholly in a range; the last of the disk may be short. */
  #wholeBlocks(offset: bigint, length: number): { first: number; end: number } {
    const until = offset + BigInt(length)
    const end = until === this.sizeBytes ? overlayBlocks(until) : Math.floor(Number(until) / slotBytes)
    return { first: Math.ceil(Number(offset) / slotBytes), end }
  }

  #zero(block: number, count: number): Promise<void> {
    return this.#lock.run(block, count, () => this.#slots.zero(block, count))
  }

  #store(offset: bigint, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const start = Number(offset)
    const block = Math.floor(start / slotBytes)
    const skip = start - block * slotBytes
    const count = Math.ceil((skip + bytes.length) / slotBytes)
    return this.#lock.run(block, count, async () => {
      const isWhole = skip === 0 && bytes.length === count * slotBytes
      const blocks = isWhole ? bytes : await this.#completed({ block, skip, count }, bytes, signal)
      await this.#slots.write(block, blocks)
    })
  }

  /** The bytes with what lies before and after them in their first and last block. */
  async #completed(
    { block, skip, count }: { block: number; skip: number; count: number },
    bytes: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array> {
    const blocks = new Uint8Array(count * slotBytes)
    const end = skip + bytes.length
    const incomplete = new Set([...(skip > 0 ? [0] : []), ...(end < blocks.length ? [count - 1] : [])])
    const fill = async (index: number): Promise<void> => {
      const at = BigInt(block + index) * BigInt(slotBytes)
      const left = this.sizeBytes - at
      const length = left < BigInt(slotBytes) ? Number(left) : slotBytes
      // A last block that ends with the disk, and with the bytes, needs nothing from below.
      if (at + BigInt(length) === this.sizeBytes && skip === 0 && end === index * slotBytes + length) return
      blocks.set(await this.#read(at, length, signal), index * slotBytes)
    }
    await Promise.all(Array.from(incomplete, fill))
    blocks.set(bytes, skip)
    return blocks
  }
}
