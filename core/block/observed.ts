import type { BlockDevice } from './block-device.ts'

/**
 * A device that tells what is read from it and written to it, each read after it was begun and whether or not it succeeds; not those
 * beyond the end. Owns the device. Costs a call for each read and no memory.
 *
 * @param onRead must not throw; told whether the bytes could be had at once
 * @param onWrite likewise; told of each write when it is begun
 */
export function observed(
  device: BlockDevice,
  onRead: (offset: number, length: number, isReady: boolean) => void,
  onWrite: (length: number) => void = () => {},
): BlockDevice {
  const sizeBytes = Number(device.sizeBytes)
  const reading: BlockDevice = {
    sizeBytes: device.sizeBytes,
    blockSize: device.blockSize,
    read: (offset, length, signal) => {
      const answer = device.read(offset, length, signal)
      const at = Number(offset)
      if (length > 0 && at >= 0 && at + length <= sizeBytes) onRead(at, length, false)
      return answer
    },
    extents: (offset, length, signal) => device.extents(offset, length, signal),
    ...(device.readNow && {
      readNow: (offset, length) => {
        const bytes = device.readNow?.(offset, length)
        if (bytes !== undefined && length > 0) onRead(offset, length, true)
        return bytes
      },
    }),
    done: (bytes) => device.done?.(bytes),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  }
  if (!device.write) return reading
  return {
    ...reading,
    write: async (at, bytes, signal) => {
      onWrite(bytes.length)
      await device.write?.(at, bytes, signal)
    },
    flush: async (signal) => device.flush?.(signal),
    trim: async (at, length, signal) => device.trim?.(at, length, signal),
    writeZeroes: async (at, length, signal) => device.writeZeroes?.(at, length, signal),
  }
}
