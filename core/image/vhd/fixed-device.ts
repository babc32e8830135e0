import { type BlockDevice, type Extent, requireRange } from '#core/block/block-device.ts'
import { concatBytes } from '#core/bytes/index.ts'
import { ImageError } from '../errors.ts'
import { encodeFooter, footerBytes, noHeader } from './footer.ts'
import { requireVhdSize, type VhdIdentity } from './write.ts'

/**
 * A disk as the bytes of a fixed VHD: its own, then a footer. The disk can be written through it if it could be before;
 * the footer cannot, but the bytes that it has anyway may be written there. Owns the disk.
 *
 * @throws {ImageError} IMAGE_TOO_LARGE, IMAGE_SIZE_UNALIGNED; when used: IMAGE_FOOTER_READ_ONLY, and nothing is written
 */
export function asFixedVhd(device: BlockDevice, identity: VhdIdentity): BlockDevice {
  const diskBytes = requireVhdSize(device)
  const footer = encodeFooter({ ...identity, diskType: 'fixed', sizeBytes: diskBytes, headerAt: noHeader })
  const sizeBytes = BigInt(diskBytes + footerBytes)
  /** How much of a range is of the disk, and what part of the footer the rest is. */
  const split = (offset: bigint, length: number): { body: number; tail: Uint8Array } => {
    requireRange(sizeBytes, offset, length)
    const body = Math.max(0, Math.min(length, diskBytes - Number(offset)))
    const start = Math.max(0, Number(offset) - diskBytes)
    return { body, tail: footer.subarray(start, start + length - body) }
  }

  const reading: BlockDevice = {
    sizeBytes,
    blockSize: device.blockSize,
    read: async (offset, length, signal) => {
      const { body, tail } = split(offset, length)
      if (body === 0) return tail
      const bytes = await device.read(offset, body, signal)
      return tail.length === 0 ? bytes : concatBytes(bytes, tail)
    },
    extents: async (offset, length, signal) => {
      const { body, tail } = split(offset, length)
      const extents = body === 0 ? [] : await device.extents(offset, body, signal)
      return tail.length === 0 ? extents : withData(extents, tail.length)
    },
    [Symbol.asyncDispose]: async () => device[Symbol.asyncDispose](),
  }
  if (!device.write) return reading
  return {
    ...reading,
    write: async (offset, bytes, signal) => {
      const { body, tail } = split(offset, bytes.length)
      if (Buffer.compare(bytes.subarray(body), tail) !== 0) throw footerReadOnly()
      if (body > 0) await device.write?.(offset, bytes.subarray(0, body), signal)
    },
    flush: async (signal) => device.flush?.(signal),
    trim: async (offset, length, signal) => {
      const { body } = split(offset, length)
      if (body > 0) await device.trim?.(offset, body, signal)
    },
    writeZeroes: async (offset, length, signal) => {
      const { body, tail } = split(offset, length)
      if (tail.some((byte) => byte !== 0)) throw footerReadOnly()
      if (body > 0) await device.writeZeroes?.(offset, body, signal)
    },
  }
}

function withData(extents: readonly Extent[], length: number): readonly Extent[] {
  const last = extents.at(-1)
  return last?.kind === 'data'
    ? [...extents.slice(0, -1), { kind: 'data', length: last.length + length }]
    : [...extents, { kind: 'data', length }]
}

function footerReadOnly(): ImageError {
  return new ImageError(
    'IMAGE_FOOTER_READ_ONLY',
    'expected a write inside the disk, got one of the VHD footer behind it',
  )
}
