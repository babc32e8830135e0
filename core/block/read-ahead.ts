import type { BlockDevice } from './block-device.ts'
import { observed } from './observed.ts'

/** Fetches what may be read soon. Begins at once and must not throw. */
export type Warm = (offset: number, length: number) => unknown

export interface ReadAheadOptions {
  readonly warm: Warm
  /** How far ahead one stream is fetched at most; from 1 MiB up. 8 MiB unless given. */
  readonly maximumWindowBytes?: number
  /**
   * How far ahead all streams together are fetched, about; should be well below what the device keeps in memory.
   * 32 MiB unless given.
   */
  readonly budgetBytes?: number
}

/**
 * A device that fetches ahead of whoever reads it in order. A read that follows none costs a look at a table and no
 * memory. Owns the device.
 */
export function readAhead(device: BlockDevice, options: ReadAheadOptions): BlockDevice {
  const streams = new SequentialReads(Number(device.sizeBytes), options)
  return observed(device, (offset, length, isReady) => streams.read(offset, length, isReady))
}

const firstWindowBytes = 1_048_576
/** What is asked for ends at a multiple of this, so that no chunk is asked for in two halves. */
const alignment = 1_048_576
/** Requests of one reader overtake each other; those that come this far out of order still belong to it. */
const slackBytes = 1_048_576
const mostStreams = 8
/** A stream is quiet when it was not read in so many reads. */
const quietReads = 4096
/** In which reads follow each other: a system that reads files has those of a folder lie beside each other, with gaps. */
const sectionBytes = 262_144
/** A power of two: where runs of reads that may become streams have got to. */
const tableSlots = 64
/** A run of reads becomes a stream with so many, when they are a section's worth of bytes or reach a third section. */
const streamReads = 3
const streamSections = 3
const none = -1
/** Before the first. */
const noSection = -2

/**
 * Finds readers that go forward, several at once, among reads in any order.
 *
 * A run of reads, each of which begins in the section where the one before it ended or in the next one, becomes a stream.
 * Ahead of a stream lies its window, which doubles each time that more is asked for.
 *
 * ```
 *      read so far        asked for
 *   ─────────────────┬──────────────────┬─────────────
 *                  next               asked
 *                    └──── window ──────┘     more is asked for when less than half of it is left
 * ```
 *
 * INVARIANT: nothing that one of the streams has asked for and not passed yet is asked for again.
 */
export class SequentialReads {
  readonly #warm: Warm
  readonly #sizeBytes: number
  readonly #maximumWindowBytes: number
  readonly #budgetBytes: number
  // Runs, by a hash of the section that they have got to. Whatever comes later takes the place.
  readonly #runSection: Float64Array = new Float64Array(tableSlots).fill(noSection)
  readonly #runOrigin: Float64Array = new Float64Array(tableSlots)
  readonly #runEnd: Float64Array = new Float64Array(tableSlots)
  readonly #runBytes: Float64Array = new Float64Array(tableSlots)
  readonly #runReads: Uint8Array = new Uint8Array(tableSlots)
  // Streams.
  #streams = 0
  readonly #origin: Float64Array = new Float64Array(mostStreams)
  readonly #next: Float64Array = new Float64Array(mostStreams)
  readonly #asked: Float64Array = new Float64Array(mostStreams)
  readonly #window: Float64Array = new Float64Array(mostStreams)
  readonly #lastRead: Float64Array = new Float64Array(mostStreams)
  #reads = 0

  /** @param sizeBytes of the device: nothing beyond it is asked for */
  constructor(
    sizeBytes: number,
    { warm, maximumWindowBytes = 8_388_608, budgetBytes = 33_554_432 }: ReadAheadOptions,
  ) {
    this.#warm = warm
    this.#sizeBytes = sizeBytes
    this.#maximumWindowBytes = maximumWindowBytes
    this.#budgetBytes = budgetBytes
  }

  /**
   * Takes note of a read inside the device, and asks for what should be fetched ahead.
   *
   * @param isReady it did not wait: reads in any order of what is in memory begin nothing
   */
  read(offset: number, length: number, isReady = false): void {
    this.#reads += 1
    const end = offset + length
    const stream = this.#streamAt(offset)
    if (stream === none) {
      this.#follow(offset, end, isReady)
      return
    }
    this.#lastRead[stream] = this.#reads
    if (end <= at(this.#next, stream)) return
    this.#next[stream] = end
    this.#extend(stream)
  }

  #streamAt(offset: number): number {
    for (let stream = 0; stream < this.#streams; stream++) {
      const distance = offset - at(this.#next, stream)
      if (distance <= slackBytes && distance >= -slackBytes) return stream
    }
    return none
  }

  /** Adds a read to the run that it continues, or begins one with it unless it is ready. */
  #follow(offset: number, end: number, isReady: boolean): void {
    const section = sectionOf(offset)
    const run = this.#runAt(section) ?? this.#runAt(section - 1)
    if (run === undefined && isReady) return
    let origin = offset
    let bytes = end - offset
    let reads = 1
    if (run !== undefined) {
      const before = at(this.#runEnd, run)
      // What was read already takes it no further.
      if (end <= before) return
      origin = Math.min(at(this.#runOrigin, run), offset)
      bytes = at(this.#runBytes, run) + end - Math.max(before, offset)
      reads += at(this.#runReads, run)
      this.#runSection[run] = noSection
    }
    const reached = sectionOf(end - 1)
    const isLong = bytes >= sectionBytes || reached - sectionOf(origin) >= streamSections - 1
    if (reads >= streamReads && isLong) {
      this.#begin(origin, end)
      return
    }
    const slot = slotOf(reached)
    this.#runSection[slot] = reached
    this.#runOrigin[slot] = origin
    this.#runEnd[slot] = end
    this.#runBytes[slot] = bytes
    this.#runReads[slot] = Math.min(reads, streamReads)
  }

  #runAt(section: number): number | undefined {
    const slot = slotOf(section)
    return this.#runSection[slot] === section ? slot : undefined
  }

  #begin(origin: number, next: number): void {
    const stream = this.#streams < mostStreams ? this.#streams++ : this.#longestQuiet()
    this.#origin[stream] = origin
    this.#next[stream] = next
    this.#asked[stream] = next
    this.#window[stream] = firstWindowBytes
    this.#lastRead[stream] = this.#reads
    this.#extend(stream)
  }

  #longestQuiet(): number {
    let longest = 0
    for (let stream = 1; stream < mostStreams; stream++) {
      if (at(this.#lastRead, stream) < at(this.#lastRead, longest)) longest = stream
    }
    return longest
  }

  #extend(stream: number): void {
    const next = at(this.#next, stream)
    const asked = at(this.#asked, stream)
    const window = Math.min(at(this.#window, stream), this.#windowLimit())
    if (asked - next >= window / 2 || asked >= this.#sizeBytes) return
    const end = Math.min(Math.ceil((next + window) / alignment) * alignment, this.#sizeBytes)
    this.#ask(stream, Math.max(asked, next), end)
  }

  /** The budget is shared by the streams that are being read. */
  #windowLimit(): number {
    let readers = 0
    for (let stream = 0; stream < this.#streams; stream++) {
      if (this.#reads - at(this.#lastRead, stream) < quietReads) readers += 1
    }
    return Math.max(firstWindowBytes, Math.min(this.#maximumWindowBytes, this.#budgetBytes / readers))
  }

  /**
   * Asks for a range without what other streams have asked for and not passed yet, and not past where another began:
   * readers that share a disk by sections stop there.
   */
  #ask(stream: number, start: number, end: number): void {
    let from = start
    let to = end
    for (let isMoved = true; isMoved; ) {
      isMoved = false
      for (let other = 0; other < this.#streams; other++) {
        if (other === stream) continue
        const low = at(this.#next, other)
        const high = at(this.#asked, other)
        const origin = at(this.#origin, other)
        if (from <= origin) to = Math.min(to, origin)
        else if (from < low && low < high) to = Math.min(to, low)
        else if (from < high && from >= low) {
          from = high
          isMoved = true
        }
      }
    }
    if (from >= to) return
    this.#asked[stream] = to
    this.#window[stream] = Math.min(at(this.#window, stream) * 2, this.#maximumWindowBytes)
    this.#warm(from, to - from)
  }
}

function sectionOf(offset: number): number {
  return Math.floor(offset / sectionBytes)
}

/** Fibonacci hashing. */
function slotOf(section: number): number {
  return Math.imul(section, 0x9e3779b1) >>> 26
}

function at(values: Float64Array | Uint8Array, index: number): number {
  return values[index] ?? 0
}
