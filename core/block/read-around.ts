import type { BlockDevice } from './block-device.ts'
import { observed } from './observed.ts'
import type { Warm } from './read-ahead.ts'

export interface ReadAroundOptions {
  readonly warm: Warm
  /** The largest block that is fetched whole, bytes. */
  readonly maximumBlockBytes: number
}

/**
 * A device that fetches what lies around reads in any order: files of a folder lie near each other, and who reads some of
 * them reads more. A read of what was read before costs a look at a bit. Owns the device.
 */
export function readAround(device: BlockDevice, { warm, maximumBlockBytes }: ReadAroundOptions): BlockDevice {
  const { blockSize: chunkBytes } = device
  const sizeBytes = Number(device.sizeBytes)
  const chunks = Math.ceil(sizeBytes / chunkBytes)
  const reads = new DenseReads(chunks, Math.floor(maximumBlockBytes / chunkBytes))
  return observed(device, (offset, length) => {
    const last = Math.floor((offset + length - 1) / chunkBytes)
    for (let chunk = Math.floor(offset / chunkBytes); chunk <= last; chunk++) {
      for (const near of reads.read(chunk)) warm(near * chunkBytes, chunkBytes)
    }
  })
}

/** The smallest block, in chunks. */
const leastChunks = 4
/** The largest, so that one word has a bit for each of its chunks. */
const mostChunks = 32
const nothing: readonly number[] = []

/**
 * Finds blocks of 4, 8, 16 or 32 chunks of which every second one was read, and names the rest of them.
 *
 * INVARIANT: no chunk is named twice, nor after it was read; what was read and what was named are together at most
 * twice what was read.
 */
export class DenseReads {
  readonly #chunks: number
  readonly #most: number
  // A bit for each chunk.
  readonly #read: Uint32Array
  readonly #named: Uint32Array

  /** @param chunks of the disk @param most chunks in one block, at least 4 all the same */
  constructor(chunks: number, most: number) {
    this.#chunks = chunks
    this.#most = Math.max(leastChunks, most)
    this.#read = new Uint32Array(Math.ceil(chunks / mostChunks))
    this.#named = new Uint32Array(this.#read.length)
  }

  /** Takes note of a read of a chunk. @returns the numbers of those that should be fetched, in order */
  read(chunk: number): readonly number[] {
    const word = Math.floor(chunk / mostChunks)
    const before = this.#read[word] ?? 0
    const read = (before | (1 << (chunk % mostChunks))) >>> 0
    if (read === before) return nothing
    this.#read[word] = read
    const named = this.#named[word] ?? 0
    const block = this.#denseBlockAt(chunk % mostChunks, read)
    const wanted = (block & ~(read | named)) >>> 0
    if (wanted === 0) return nothing
    this.#named[word] = named | wanted
    return this.#numbersOf(word, wanted)
  }

  /** @returns its bits in the word, none when there is none */
  #denseBlockAt(place: number, read: number): number {
    for (let count = mostChunks; count >= leastChunks; count /= 2) {
      if (count > this.#most) continue
      const bits = (2 ** count - 1) * 2 ** (place - (place % count))
      if (2 * onesIn(read & bits) >= count) return bits
    }
    return 0
  }

  #numbersOf(word: number, bits: number): readonly number[] {
    const places = Array.from({ length: mostChunks }, (_, place) => place)
    return places
      .filter((place) => (bits >>> place) & 1)
      .map((place) => word * mostChunks + place)
      .filter((chunk) => chunk < this.#chunks)
  }
}

/** How many bits are set (Hacker's Delight, 5-1). */
function onesIn(bits: number): number {
  const pairs = bits - ((bits >>> 1) & 0x55555555)
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
