import { decodeGuid } from '../guid.ts'

export const mebibyte: number = 1 << 20
export const zeroGuid = '00000000-0000-0000-0000-000000000000'

/** Little-endian fields of a structure that has been read whole. */
export class Fields {
  readonly bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true)
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true)
  }

  guid(at: number): string {
    return decodeGuid(this.bytes.subarray(at, at + 16), 'windows')
  }

  latin(at: number, length: number): string {
    return Buffer.from(this.bytes.subarray(at, at + length)).toString('latin1')
  }
}
