import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { slotBytes } from '#core/block/slot-store.ts'

/** Fills memory with random bytes. */
export type FillRandom = (bytes: Uint8Array) => void

const nonceBytes = 12
const tagBytes = 16
const textAt = nonceBytes + tagBytes

/** What a block takes in the file: nonce 12 | tag 16 | ciphertext 4096. */
export const sealedBytes: number = textAt + slotBytes

const algorithm = 'aes-256-gcm'
const options = { authTagLength: tagBytes }

/**
 * Seals blocks with AES-256-GCM, each write of a block under a nonce of its own. Associated data is the overlay's id and
 * the block's number, so that no block opens in another place.
 *
 * Spec: NIST SP 800-38D section 8.2.2: 96 random bits, good for 2^32 writes (16 TiB) under one key; every overlay has
 * its own
 */
export class SlotCipher {
  readonly #key: KeyObject
  readonly #place: Uint8Array
  readonly #placeView: DataView
  readonly #numberAt: number
  readonly #random: FillRandom

  /** @param key AES-256, for this overlay only */
  constructor(key: KeyObject, overlayId: Uint8Array, random: FillRandom) {
    this.#key = key
    this.#numberAt = overlayId.length
    this.#place = new Uint8Array(overlayId.length + 8)
    this.#place.set(overlayId)
    this.#placeView = new DataView(this.#place.buffer)
    this.#random = random
  }

  /**
   * Seals neighbouring blocks into `sealed`, one after the other.
   *
   * @returns the mark of each: 64 bits of its nonce. Together with the tag they tell this write from all others
   */
  seal(block: number, blocks: Uint8Array, sealed: Uint8Array): BigUint64Array {
    const count = blocks.length / slotBytes
    const nonces = new Uint8Array(count * nonceBytes)
    this.#random(nonces)
    const marks = new BigUint64Array(count)
    for (let index = 0; index < count; index++) {
      const nonce = nonces.subarray(index * nonceBytes, (index + 1) * nonceBytes)
      const cipher = createCipheriv(algorithm, this.#key, nonce, options)
      cipher.setAAD(this.#placeOf(block + index))
      const text = cipher.update(blocks.subarray(index * slotBytes, (index + 1) * slotBytes))
      cipher.final()
      const at = index * sealedBytes
      sealed.set(nonce, at)
      sealed.set(cipher.getAuthTag(), at + nonceBytes)
      sealed.set(text, at + textAt)
      marks[index] = markOf(nonce)
    }
    return marks
  }

  /**
   * Opens one block.
   *
   * @returns undefined unless it is what was sealed for this block with this mark
   */
  open(block: number, mark: bigint, sealed: Uint8Array): Uint8Array | undefined {
    const nonce = sealed.subarray(0, nonceBytes)
    if (sealed.length !== sealedBytes || markOf(nonce) !== mark) return undefined
    const decipher = createDecipheriv(algorithm, this.#key, nonce, options)
    decipher.setAAD(this.#placeOf(block))
    decipher.setAuthTag(sealed.subarray(nonceBytes, textAt))
    const text = decipher.update(sealed.subarray(textAt))
    try {
      decipher.final()
      return text
    } catch {
      return undefined
    }
  }

  #placeOf(block: number): Uint8Array {
    this.#placeView.setBigUint64(this.#numberAt, BigInt(block))
    return this.#place
  }
}

function markOf(nonce: Uint8Array): bigint {
  return new DataView(nonce.buffer, nonce.byteOffset).getBigUint64(0)
}
