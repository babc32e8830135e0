import type { BlockDevice } from './block-device.ts'

/**
 * A device that can be closed under those who use it: once the signal is aborted every call fails with its reason. What
 * is under way is left to the device. Owns the device.
 */
export function gated(device: BlockDevice, signal: AbortSignal): BlockDevice {
  const through = <T>(call: () => Promise<T>): Promise<T> =>
    signal.aborted ? Promise.reject(signal.reason as Error) : call()
  const reading: BlockDevice = {
    sizeBytes: device.sizeBytes,
    blockSize: device.blockSize,
    read: (offset, length, reader) => through(() => device.read(offset, length, reader)),
    extents: (offset, length, reader) => through(() => device.extents(offset, length, reader)),
    ...(device.readNow && {
      readNow: (offset, length) => (signal.aborted ? undefined : device.readNow?.(offset, length)),
    }),
    done: (bytes) => device.done?.(bytes),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  }
  if (!device.write) return reading
  return {
    ...reading,
    write: (offset, bytes, writer) => through(async () => device.write?.(offset, bytes, writer)),
    flush: (writer) => through(async () => device.flush?.(writer)),
    trim: (offset, length, writer) => through(async () => device.trim?.(offset, length, writer)),
    writeZeroes: (offset, length, writer) =>
      through(async () => device.writeZeroes?.(offset, length, writer)),
  }
}
