import { encodeUtf8 } from '#core/bytes/index.ts'
import {
  baseAllocationId,
  maximumStringBytes,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from '../constants.ts'
import type { Descriptor } from './block-status.ts'
import type { Refusal } from './refusal.ts'

const slabBytes = 16_384
const simpleBytes = 16
const chunkBytes = 20

/**
 * Encodes replies. What it returns is never altered later; small results share memory, which is cheaper than a
 * buffer for each.
 *
 * Spec: proto.md "Simple reply message", "Structured reply chunk message", "Structured reply types"
 */
export class ReplyEncoder {
  #slab = new Uint8Array(0)
  #view = new DataView(this.#slab.buffer)
  #used = 0

  /** Success or error in the old style; data of a successful read follows. */
  simple(cookie: bigint, error: number): Uint8Array {
    const at = this.#reserve(simpleBytes)
    this.#view.setUint32(at, NBD_SIMPLE_REPLY_MAGIC)
    this.#view.setUint32(at + 4, error)
    this.#view.setBigUint64(at + 8, cookie)
    return this.#slab.subarray(at, at + simpleBytes)
  }

  /** Success without data. */
  none(cookie: bigint): Uint8Array {
    const at = this.#chunk(NBD_REPLY_TYPE.NONE, cookie, 0, true)
    return this.#slab.subarray(at, at + chunkBytes)
  }

  /** What comes before `length` bytes of data at `offset`. */
  offsetData(cookie: bigint, offset: bigint, length: number, done: boolean): Uint8Array {
    const at = this.#chunk(NBD_REPLY_TYPE.OFFSET_DATA, cookie, 8, done, length)
    this.#view.setBigUint64(at + chunkBytes, offset)
    return this.#slab.subarray(at, at + chunkBytes + 8)
  }

  /** `length` zeros at `offset`. */
  offsetHole(cookie: bigint, offset: bigint, length: number, done: boolean): Uint8Array {
    const at = this.#chunk(NBD_REPLY_TYPE.OFFSET_HOLE, cookie, 12, done)
    this.#view.setBigUint64(at + chunkBytes, offset)
    this.#view.setUint32(at + chunkBytes + 8, length)
    return this.#slab.subarray(at, at + chunkBytes + 12)
  }

  /** An error with words; the last chunk. */
  error(cookie: bigint, { error, message }: Refusal): Uint8Array {
    const text = encodeUtf8(message.slice(0, maximumStringBytes / 4))
    const at = this.#chunk(NBD_REPLY_TYPE.ERROR, cookie, 6 + text.length, true)
    this.#view.setUint32(at + chunkBytes, error)
    this.#view.setUint16(at + chunkBytes + 4, text.length)
    this.#slab.set(text, at + chunkBytes + 6)
    return this.#slab.subarray(at, at + chunkBytes + 6 + text.length)
  }

  /** The status of `base:allocation`; the last chunk. */
  blockStatus(cookie: bigint, descriptors: readonly Descriptor[]): Uint8Array {
    const length = 4 + 8 * descriptors.length
    const at = this.#chunk(NBD_REPLY_TYPE.BLOCK_STATUS, cookie, length, true)
    this.#view.setUint32(at + chunkBytes, baseAllocationId)
    let next = at + chunkBytes + 4
    for (const { length, status } of descriptors) {
      this.#view.setUint32(next, length)
      this.#view.setUint32(next + 4, status)
      next += 8
    }
    return this.#slab.subarray(at, next)
  }

  /** @param behind bytes of payload that the caller sends itself */
  #chunk(type: number, cookie: bigint, payload: number, done: boolean, behind = 0): number {
    const at = this.#reserve(chunkBytes + payload)
    this.#view.setUint32(at, NBD_STRUCTURED_REPLY_MAGIC)
    this.#view.setUint16(at + 4, done ? NBD_REPLY_FLAG_DONE : 0)
    this.#view.setUint16(at + 6, type)
    this.#view.setBigUint64(at + 8, cookie)
    this.#view.setUint32(at + 16, payload + behind)
    return at
  }

  #reserve(length: number): number {
    if (this.#used + length > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(slabBytes, length))
      this.#view = new DataView(this.#slab.buffer)
      this.#used = 0
    }
    this.#used += length
    return this.#used - length
  }
}
