import { type BlockDevice, BlockError, type Extent, requireRange } from './block-device.ts'
import { appendExtent } from './extents.ts'

const blockSize = 4096
const zeros = new Uint8Array(blockSize)

/** A disk in memory for tests, in blocks of 4 KiB: those of zeros only are holes. */
export function memoryDevice(memory: Uint8Array, writable = true): BlockDevice {
  const sizeBytes = BigInt(memory.length)
  let isClosed = false
  const view = (offset: bigint, length: number): Uint8Array => {
    if (isClosed) throw new BlockError('BLOCK_CLOSED', 'the memory is gone')
    requireRange(sizeBytes, offset, length)
    return memory.subarray(Number(offset), Number(offset) + length)
  }
  const device: BlockDevice = {
    sizeBytes,
    blockSize,
    read: async (offset, length) => view(offset, length).slice(),
    extents: async (offset, length) => extentsOf(view(offset, length), Number(offset)),
    [Symbol.asyncDispose]: async () => {
      isClosed = true
    },
  }
  if (!writable) return device
  return {
    ...device,
    write: async (offset, bytes) => view(offset, bytes.length).set(bytes),
    flush: async () => {},
    trim: async (offset, length) => void view(offset, length).fill(0),
    writeZeroes: async (offset, length) => void view(offset, length).fill(0),
  }
}

/** As `memoryDevice`; of every other block the bytes can be had at once. */
export function readyDevice(memory: Uint8Array, writable = true): BlockDevice {
  const device = memoryDevice(memory, writable)
  let isClosed = false
  return {
    ...device,
    readNow: (offset, length) => {
      const block = Math.floor(offset / blockSize)
      const end = offset + length
      const isOutside = offset < 0 || end > memory.length
      if (isClosed || isOutside || block % 2 === 1 || end > (block + 1) * blockSize) return undefined
      return memory.slice(offset, end)
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true
      await device[Symbol.asyncDispose]()
    },
  }
}

function extentsOf(bytes: Uint8Array, offset: number): Extent[] {
  const extents: Extent[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(bytes.length - at, blockSize - ((offset + at) % blockSize))
    const isZeros = Buffer.compare(bytes.subarray(at, at + length), zeros.subarray(0, length)) === 0
    appendExtent(extents, { kind: isZeros ? 'hole' : 'data', length })
    at += length
  }
  return extents
}
