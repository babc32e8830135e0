import { type BlockDevice, requireRange } from './block-device.ts'

/**
 * A part of a device as a device, which can be written if that one can: a partition, for instance. Owns the whole one.
 *
 * @throws {BlockError} BLOCK_OUT_OF_RANGE
 */
export function sliced(device: BlockDevice, offset: bigint, sizeBytes: bigint): BlockDevice {
  requireRange(device.sizeBytes, offset, Number(sizeBytes))
  const within = (at: bigint, length: number): bigint => {
    requireRange(sizeBytes, at, length)
    return offset + at
  }
  const reading: BlockDevice = {
    sizeBytes,
    blockSize: device.blockSize,
    read: async (at, length, signal) => device.read(within(at, length), length, signal),
    extents: async (at, length, signal) => device.extents(within(at, length), length, signal),
    ...(device.readNow && {
      readNow: (at, length) =>
        at >= 0 && at + length <= Number(sizeBytes)
          ? device.readNow?.(Number(offset) + at, length)
          : undefined,
    }),
    done: (bytes) => device.done?.(bytes),
    [Symbol.asyncDispose]: async () => device[Symbol.asyncDispose](),
  }
  if (!device.write) return reading
  return {
    ...reading,
    write: async (at, bytes, signal) => device.write?.(within(at, bytes.length), bytes, signal),
    flush: async (signal) => device.flush?.(signal),
    trim: async (at, length, signal) => device.trim?.(within(at, length), length, signal),
    writeZeroes: async (at, length, signal) => device.writeZeroes?.(within(at, length), length, signal),
  }
}
