/** A parser that pauses, by yielding, whenever the bytes it was fed run out. */
export type Parser<Result = void> = Generator<undefined, Result, undefined>

/** Takes a piece of a stream; the piece may be a view of the caller's buffer. */
export type Sink = (bytes: Uint8Array) => void

/**
 * Bytes as they arrive, read by one parser that pauses between pieces.
 * What `take` and `pass` hand out are views of the fed piece where possible: valid until the next pause only.
 */
export class ByteFeed {
  #piece: Uint8Array = new Uint8Array(0)
  #at = 0

  /** Gives the next piece; the one before must be used up. */
  feed(piece: Uint8Array): void {
    this.#piece = piece
    this.#at = 0
  }

  /** True when everything fed was read. */
  get empty(): boolean {
    return this.#at === this.#piece.length
  }

  /** Reads `length` bytes in one piece; the caller has bounded `length`. */
  *take(length: number): Parser<Uint8Array> {
    const at = this.#at
    if (this.#piece.length - at >= length) {
      this.#at += length
      return this.#piece.subarray(at, at + length)
    }
    const whole = new Uint8Array(length)
    let filled = 0
    yield* this.pass(length, (part) => {
      whole.set(part, filled)
      filled += part.length
    })
    return whole
  }

  /** Hands `length` bytes to `sink` as they arrive, without collecting them. */
  *pass(length: number, sink: Sink): Parser {
    let left = length
    while (left > 0) {
      if (this.empty) yield
      const part = this.#piece.subarray(this.#at, Math.min(this.#piece.length, this.#at + left))
      if (part.length === 0) continue
      this.#at += part.length
      left -= part.length
      sink(part)
    }
  }

  /** Reads `length` bytes and forgets them. */
  skip(length: number): Parser {
    return this.pass(length, () => undefined)
  }

  *u8(): Parser<number> {
    const bytes = yield* this.take(1)
    return bytes[0] ?? 0
  }
}

/** Big-endian numbers of a piece whose length was checked. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
