import { type ByteSource, requireRange } from '#core/block/block-device.ts'
import type { SparseSink } from './sparse-sink.ts'

/** A file in memory, which counts what is read and says when it was disposed of. */
export interface MemorySource extends ByteSource {
  readonly readBytes: () => number
  readonly isDisposed: () => boolean
}

export function memorySource(bytes: Uint8Array): MemorySource {
  const sizeBytes = BigInt(bytes.length)
  let readBytes = 0
  let isDisposed = false
  return {
    sizeBytes,
    read: async (offset, length) => {
      requireRange(sizeBytes, offset, length)
      readBytes += length
      return bytes.subarray(Number(offset), Number(offset) + length)
    },
    readBytes: () => readBytes,
    isDisposed: () => isDisposed,
    [Symbol.asyncDispose]: async () => {
      isDisposed = true
    },
  }
}

/** A file of any size that is zeros but for some parts. */
export function sparseSource(sizeBytes: bigint, parts: ReadonlyMap<number, Uint8Array>): ByteSource {
  return {
    sizeBytes,
    read: async (offset, length) => {
      requireRange(sizeBytes, offset, length)
      const whole = new Uint8Array(length)
      for (const [at, part] of parts) {
        const from = Math.max(at, Number(offset))
        const end = Math.min(at + part.length, Number(offset) + length)
        if (from < end) whole.set(part.subarray(from - at, end - at), from - Number(offset))
      }
      return whole
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

/** A new file in memory. */
export function memorySink(): SparseSink & { bytes(): Uint8Array } {
  let file = new Uint8Array(0)
  const resize = (sizeBytes: bigint): void => {
    const next = new Uint8Array(Number(sizeBytes))
    next.set(file.subarray(0, next.length))
    file = next
  }
  return {
    write: async (offset, bytes) => {
      const end = offset + BigInt(bytes.length)
      if (end > BigInt(file.length)) resize(end)
      file.set(bytes, Number(offset))
    },
    resize: async (sizeBytes) => resize(sizeBytes),
    bytes: () => file,
  }
}
