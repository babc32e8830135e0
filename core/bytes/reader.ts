import { BytesError } from './errors.ts'
import { decodeUtf8 } from './text.ts'

/**
 * Reads big-endian values from untrusted bytes, front to back. Never reads past the end.
 *
 * Byte strings it returns are views of the input, not copies.
 */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get offset(): number {
    return this.#offset
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  /** @throws {BytesError} BYTES_SHORT */
  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  /** @throws {BytesError} BYTES_SHORT */
  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }

  /** @throws {BytesError} BYTES_SHORT */
  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }

  /** @throws {BytesError} BYTES_SHORT */
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8))
  }

  /** @throws {BytesError} BYTES_SHORT */
  i32(): number {
    return this.#view.getInt32(this.#take(4))
  }

  /** @throws {BytesError} BYTES_SHORT */
  bytes(length: number): Uint8Array {
    const start = this.#take(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** Everything that is left, at most `maximum` bytes. @throws {BytesError} BYTES_TOO_LONG */
  rest(maximum: number): Uint8Array {
    if (this.remaining > maximum) {
      throw new BytesError('BYTES_TOO_LONG', `expected at most ${maximum} more bytes, got ${this.remaining}`)
    }
    return this.bytes(this.remaining)
  }

  /** @throws {BytesError} BYTES_SHORT, BYTES_ENCODING when it is not UTF-8 */
  utf8(length: number): string {
    return decodeUtf8(this.bytes(length))
  }

  /** @throws {BytesError} BYTES_SHORT */
  skip(length: number): void {
    this.#take(length)
  }

  /** Says that the input must end here. @throws {BytesError} BYTES_TOO_LONG */
  end(): void {
    if (this.remaining > 0) {
      throw new BytesError(
        'BYTES_TOO_LONG',
        `expected the end at byte ${this.#offset}, got ${this.remaining} more`,
      )
    }
  }

  #take(length: number): number {
    if (!Number.isInteger(length) || length < 0) {
      throw new BytesError('BYTES_RANGE', `expected a length, got ${length}`)
    }
    if (length > this.remaining) {
      throw new BytesError(
        'BYTES_SHORT',
        `expected ${length} bytes at ${this.#offset}, got ${this.remaining}`,
      )
    }
    const start = this.#offset
    this.#offset += length
    return start
  }
}
