import { type BlockDevice, type ByteSource, requireRange } from '#core/block/block-device.ts'
import { piecesOf, type SparseSink } from './sparse-sink.ts'

const blockSize = 1 << 20

/** A disk whose bytes are those of the source, which it owns. What is sparse in the source is not known here. */
export function openRaw(source: ByteSource): BlockDevice {
  return {
    sizeBytes: source.sizeBytes,
    blockSize,
    read: async (offset, length, signal) => {
      requireRange(source.sizeBytes, offset, length)
      return source.read(offset, length, signal)
    },
    done: (bytes) => source.done?.(bytes),
    extents: async (offset, length) => {
      requireRange(source.sizeBytes, offset, length)
      return length === 0 ? [] : [{ kind: 'data', length }]
    },
    [Symbol.asyncDispose]: async () => source[Symbol.asyncDispose](),
  }
}

/** Writes a disk as its bytes. What is zeros is not written, so that a sparse file stays so. */
export async function writeRaw(device: BlockDevice, sink: SparseSink, signal?: AbortSignal): Promise<void> {
  for await (const { offset, bytes } of piecesOf(device, blockSize, signal)) {
    await sink.write(BigInt(offset), bytes)
  }
  await sink.resize(device.sizeBytes)
}
