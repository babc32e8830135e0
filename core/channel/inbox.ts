import { ChannelError } from './errors.ts'
import { type SequencedFrame, sequenceLength } from './frame.ts'

/** Bytes of frames that may wait for the caller. An honest end never has more than its replay buffer on the way. */
const maximumHeldBytes = 16 << 20
const heldOverhead = 64

export interface InboxEvents {
  /** Whether the caller takes this frame now. */
  ready(frame: SequencedFrame): boolean
  /** Each frame once, in order. The length is how far it moved the count. */
  deliver(frame: SequencedFrame, length: number): void
}

/**
 * Puts the sequenced frames of one link after another together: every frame once, in order.
 *
 * A link starts at the count that this end reported in its handshake. The link before may have brought more since then,
 * so the new one's frames up to the present count are repetitions.
 */
export class Inbox {
  readonly #events: InboxEvents
  #held: SequencedFrame[] = []
  #heldBytes = 0
  #delivered = 0
  /** The end of the last frame taken in, delivered or held. */
  #accepted = 0
  /** The end of the last frame of the present link. */
  #position = 0
  #flushing = false

  constructor(events: InboxEvents) {
    this.#events = events
  }

  /** How much of the sequence was delivered: what may be acknowledged and need not be repeated. */
  get delivered(): number {
    return this.#delivered
  }

  /** Another link begins at `reported`. What was held comes again on it. */
  restart(reported: number): void {
    this.#held = []
    this.#heldBytes = 0
    this.#accepted = this.#delivered
    this.#position = reported
  }

  /** @throws {ChannelError} CHANNEL_PROTOCOL when frames were cut in another way than before; CHANNEL_FLOODED */
  push(frame: SequencedFrame): void {
    const start = this.#position
    const length = sequenceLength(frame.bytes.length)
    this.#position += length
    if (this.#position <= this.#accepted) return
    if (start !== this.#accepted) {
      throw new ChannelError('CHANNEL_PROTOCOL', `expected a frame at ${this.#accepted}, got one at ${start}`)
    }
    this.#accepted = this.#position
    this.#heldBytes += frame.bytes.length + heldOverhead
    if (this.#heldBytes > maximumHeldBytes) {
      throw new ChannelError('CHANNEL_FLOODED', `expected at most ${maximumHeldBytes} bytes before an ACK`)
    }
    this.#held.push(frame)
    this.flush()
  }

  /** Delivers what the caller takes now. */
  flush(): void {
    if (this.#flushing) return
    this.#flushing = true
    try {
      for (;;) {
        const frame = this.#held[0]
        if (frame === undefined || !this.#events.ready(frame)) return
        this.#held.shift()
        this.#heldBytes -= frame.bytes.length + heldOverhead
        const length = sequenceLength(frame.bytes.length)
        this.#delivered += length
        this.#events.deliver(frame, length)
      }
    } finally {
      this.#flushing = false
    }
  }
}
