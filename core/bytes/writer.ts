import { BytesError } from './errors.ts'
import { encodeUtf8 } from './text.ts'

const initialCapacity = 64

/** Writes big-endian values into a buffer that grows up to `maximum` bytes. Every method returns the writer. */
export class Writer {
  readonly #maximum: number
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(maximum: number) {
    this.#maximum = maximum
    this.#bytes = new Uint8Array(Math.min(initialCapacity, maximum))
    this.#view = new DataView(this.#bytes.buffer)
  }

  get length(): number {
    return this.#length
  }

  /** @throws {BytesError} BYTES_RANGE, BYTES_TOO_LONG */
  u8(value: number): this {
    check(value, 0, 0xff)
    const start = this.#grow(1)
    this.#view.setUint8(start, value)
    return this
  }

  /** @throws {BytesError} BYTES_RANGE, BYTES_TOO_LONG */
  u16(value: number): this {
    check(value, 0, 0xffff)
    const start = this.#grow(2)
    this.#view.setUint16(start, value)
    return this
  }

  /** @throws {BytesError} BYTES_RANGE, BYTES_TOO_LONG */
  u32(value: number): this {
    check(value, 0, 0xffff_ffff)
    const start = this.#grow(4)
    this.#view.setUint32(start, value)
    return this
  }

  /** @throws {BytesError} BYTES_RANGE, BYTES_TOO_LONG */
  u64(value: bigint): this {
    if (value < 0n || value >= 1n << 64n) {
      throw new BytesError('BYTES_RANGE', `expected an unsigned 64-bit number, got ${value}`)
    }
    const start = this.#grow(8)
    this.#view.setBigUint64(start, value)
    return this
  }

  /** @throws {BytesError} BYTES_RANGE, BYTES_TOO_LONG */
  i32(value: number): this {
    check(value, -0x8000_0000, 0x7fff_ffff)
    const start = this.#grow(4)
    this.#view.setInt32(start, value)
    return this
  }

  /** @throws {BytesError} BYTES_TOO_LONG */
  bytes(value: Uint8Array): this {
    const start = this.#grow(value.length)
    this.#bytes.set(value, start)
    return this
  }

  /** Without a length before it and without an end mark. @throws {BytesError} BYTES_TOO_LONG */
  utf8(value: string): this {
    return this.bytes(encodeUtf8(value))
  }

  /** What was written: a view that later writes may move away from. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  /** May replace the buffer and its view: call it before touching either. */
  #grow(length: number): number {
    const needed = this.#length + length
    if (needed > this.#maximum) {
      throw new BytesError('BYTES_TOO_LONG', `expected at most ${this.#maximum} bytes, got ${needed}`)
    }
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.min(this.#maximum, Math.max(needed, this.#bytes.length * 2)))
      larger.set(this.finish())
      this.#bytes = larger
      this.#view = new DataView(larger.buffer)
    }
    const start = this.#length
    this.#length = needed
    return start
  }
}

function check(value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new BytesError('BYTES_RANGE', `expected a whole number from ${least} to ${most}, got ${value}`)
  }
}
