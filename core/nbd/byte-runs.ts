/** A piece of a stream and how far it has been read. */
export class Piece {
  readonly bytes: Uint8Array
  readonly view: DataView
  at = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get left(): number {
    return this.bytes.length - this.at
  }
}

/** Takes runs of bytes of a known length from the pieces of a stream. */
export class ByteRuns {
  #run: Uint8Array | undefined
  #filled = 0

  /** True between the first and the last byte of a run that lies in several pieces. */
  get partial(): boolean {
    return this.#run !== undefined
  }

  /**
   * Takes the next `length` bytes, which the caller has bounded; ask again with the same length when it is
   * undefined, which means that the piece is used up. A run that lies in one piece is a view of it.
   */
  take(piece: Piece, length: number): Uint8Array | undefined {
    if (this.#run === undefined && piece.left >= length) {
      piece.at += length
      return piece.bytes.subarray(piece.at - length, piece.at)
    }
    if (piece.left === 0) return undefined
    const run = this.#run ?? new Uint8Array(length)
    const part = piece.bytes.subarray(piece.at, piece.at + run.length - this.#filled)
    run.set(part, this.#filled)
    piece.at += part.length
    this.#filled += part.length
    const whole = this.#filled === run.length
    this.#run = whole ? undefined : run
    if (whole) this.#filled = 0
    return whole ? run : undefined
  }
}
