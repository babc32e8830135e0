import type { BlockDevice } from './block-device.ts'
import {
  type BootTrace,
  maximumRangeBytes,
  maximumTraceMs,
  maximumTraceRanges,
  type TraceRange,
} from './boot-trace.ts'
import { observed } from './observed.ts'

export interface RecorderOptions {
  /** Of the disk. */
  readonly sizeBytes: bigint
  /** Milliseconds of a clock that does not go back. */
  readonly now: () => number
  /** What is noted at once; that of the image, or a multiple. 256 KiB unless given. */
  readonly chunkBytes?: number
}

/** A device whose reads are recorded. Owns the device. Costs a read next to nothing once its chunks are noted. */
export function traced(device: BlockDevice, recorder: TraceRecorder): BlockDevice {
  return observed(device, (offset, length) => recorder.read(offset, length))
}

/**
 * Notes each chunk of a disk once, when it is first read. Begins when it is made; stops by itself when the trace is as
 * long as one may be. Memory: a bit for each chunk.
 */
export class TraceRecorder {
  readonly #sizeBytes: number
  readonly #chunkBytes: number
  readonly #now: () => number
  readonly #begunAt: number
  readonly #seen: Uint8Array
  readonly #ranges: TraceRange[] = []
  #isStopped = false

  constructor({ sizeBytes, now, chunkBytes = 262_144 }: RecorderOptions) {
    this.#sizeBytes = Number(sizeBytes)
    this.#chunkBytes = chunkBytes
    this.#now = now
    this.#begunAt = now()
    this.#seen = new Uint8Array(Math.ceil(this.#sizeBytes / chunkBytes / 8))
  }

  /** Takes note of a read inside the disk, of at least a byte. */
  read(offset: number, length: number): void {
    if (this.#isStopped) return
    const end = Math.ceil((offset + length) / this.#chunkBytes)
    for (let chunk = Math.floor(offset / this.#chunkBytes); chunk < end; chunk++) {
      if (this.#isSeen(chunk)) continue
      let next = chunk
      while (next < end && !this.#isSeen(next)) this.#see(next++)
      this.#note(chunk, next)
      chunk = next
    }
  }

  /** Notes nothing any more. */
  stop(): void {
    this.#isStopped = true
  }

  /** What was noted so far. */
  trace(): BootTrace {
    return { ranges: [...this.#ranges] }
  }

  #note(first: number, next: number): void {
    const atMs = Math.floor(this.#now() - this.#begunAt)
    const end = Math.min(next * this.#chunkBytes, this.#sizeBytes)
    for (let offset = first * this.#chunkBytes; offset < end; offset += maximumRangeBytes) {
      if (this.#ranges.length >= maximumTraceRanges || atMs > maximumTraceMs) {
        this.stop()
        return
      }
      this.#ranges.push({ offset, length: Math.min(end - offset, maximumRangeBytes), atMs })
    }
  }

  #isSeen(chunk: number): boolean {
    return ((this.#seen[chunk >>> 3] ?? 0) & (1 << (chunk & 7))) !== 0
  }

  #see(chunk: number): void {
    this.#seen[chunk >>> 3] = (this.#seen[chunk >>> 3] ?? 0) | (1 << (chunk & 7))
  }
}
