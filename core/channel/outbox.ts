import { ChannelError } from './errors.ts'
import { frameTypes, maximumBodyBytes, type SequencedFrame, sequenceLength } from './frame.ts'

/** What one waiting frame costs beside its bytes. */
const overheadBytes = 64
/** Most bytes on the way: the other end refuses to hold a few times this. */
const windowBytes = 8 << 20

interface Entry {
  /** The type, then the body; longer than both while the frame may still grow. */
  buffer: Uint8Array
  bodyBytes: number
  /** Once written, a frame never changes: it may be repeated on another transport. */
  written: boolean
}

/**
 * The sequenced frames that the other end has not acknowledged, oldest first.
 *
 * INVARIANT: a frame is written with the same bytes on every transport, so counts always meet at the ends of frames.
 */
export class Outbox {
  readonly #entries: Entry[] = []
  #next = 0
  #acknowledged = 0
  #onTheWay = 0
  #size = 0

  /** Memory held, in bytes. */
  get size(): number {
    return this.#size
  }

  /** Copies the bytes. Data is cut into frames and joined to a frame of data that was never written. */
  append(type: SequencedFrame['type'], bytes: Uint8Array): void {
    if (type !== 'data') return this.#push(type, bytes)
    let rest = this.#fillLast(bytes)
    while (rest.length > 0) {
      this.#push(type, rest.subarray(0, maximumBodyBytes))
      rest = rest.subarray(maximumBodyBytes)
    }
  }

  /** The next frame for the present transport, when there is one and the other end may be sent more. */
  next(): Uint8Array | undefined {
    const entry = this.#entries[this.#next]
    if (entry === undefined || this.#onTheWay > windowBytes) return undefined
    this.#next += 1
    this.#onTheWay += entry.bodyBytes
    entry.written = true
    return entry.buffer.subarray(0, 1 + entry.bodyBytes)
  }

  /** Forgets what the other end has, by its ACK. @throws {ChannelError} CHANNEL_PROTOCOL */
  acknowledge(received: number): void {
    const { count, bodyBytes } = this.#entriesUpTo(received, (_, index) => index < this.#next)
    this.#forget(count, bodyBytes, received)
    this.#next -= count
    this.#onTheWay -= bodyBytes
  }

  /** Starts anew on another transport, after what the other end has. @throws {ChannelError} CHANNEL_PROTOCOL */
  rewind(received: number): void {
    const { count, bodyBytes } = this.#entriesUpTo(received, (entry) => entry.written)
    this.#forget(count, bodyBytes, received)
    this.#next = 0
    this.#onTheWay = 0
  }

  clear(): void {
    this.#forget(this.#entries.length, this.#size - this.#entries.length * overheadBytes, this.#acknowledged)
    this.#next = 0
  }

  #push(type: SequencedFrame['type'], body: Uint8Array): void {
    if (body.length > maximumBodyBytes) {
      throw new ChannelError(
        'CHANNEL_OPTIONS',
        `expected at most ${maximumBodyBytes} bytes, got ${body.length}`,
      )
    }
    const buffer = new Uint8Array(1 + body.length)
    buffer[0] = frameTypes[type]
    buffer.set(body, 1)
    this.#entries.push({ buffer, bodyBytes: body.length, written: false })
    this.#size += body.length + overheadBytes
  }

  #forget(count: number, bodyBytes: number, received: number): void {
    this.#entries.splice(0, count)
    this.#size -= bodyBytes + count * overheadBytes
    this.#acknowledged = received
  }

  #entriesUpTo(
    received: number,
    allowed: (entry: Entry, index: number) => boolean,
  ): { count: number; bodyBytes: number } {
    let total = this.#acknowledged
    let count = 0
    let bodyBytes = 0
    while (total < received) {
      const entry = this.#entries[count]
      if (entry === undefined || !allowed(entry, count)) break
      total += sequenceLength(entry.bodyBytes)
      bodyBytes += entry.bodyBytes
      count += 1
    }
    if (total !== received) {
      throw new ChannelError(
        'CHANNEL_PROTOCOL',
        `expected a count of what was sent, got ${received} near ${total}`,
      )
    }
    return { count, bodyBytes }
  }

  /** Returns what did not fit. */
  #fillLast(bytes: Uint8Array): Uint8Array {
    const last = this.#entries.at(-1)
    if (last === undefined || last.written || last.buffer[0] !== frameTypes.data) return bytes
    const fitting = bytes.subarray(0, maximumBodyBytes - last.bodyBytes)
    const end = 1 + last.bodyBytes
    if (last.buffer.length < end + fitting.length) {
      // Doubled, so that many small pieces are copied only a few times.
      const capacity = Math.min(1 + maximumBodyBytes, Math.max(end + fitting.length, 2 * last.buffer.length))
      const larger = new Uint8Array(capacity)
      larger.set(last.buffer.subarray(0, end))
      last.buffer = larger
    }
    last.buffer.set(fitting, end)
    last.bodyBytes += fitting.length
    this.#size += fitting.length
    return bytes.subarray(fitting.length)
  }
}
