import { Reader, Writer } from '#core/bytes/index.ts'
import { ImageError } from '../errors.ts'
import { decodeGuid, encodeGuid } from '../guid.ts'
import { checksumOf } from './checksum.ts'
import { geometryOf } from './geometry.ts'

export const footerBytes = 512
export const sectorBytes = 512

/** 2040 GiB, the largest disk that Hyper-V and QEMU take. Below it all sector numbers fit 32 bits. */
export const maximumVhdBytes: number = 0xff00_0000 * sectorBytes

/** Where a fixed disk has no header. */
export const noHeader = 0xffff_ffff_ffff_ffffn

const cookie = 'conectix'
const version = 0x0001_0000
const checksumAt = 64
const diskTypes = { 2: 'fixed', 3: 'dynamic', 4: 'differencing' } as const

export interface Footer {
  readonly diskType: 'fixed' | 'dynamic' | 'differencing'
  /** Current Size: a whole number of sectors. What the geometry says does not count. */
  readonly sizeBytes: number
  /** Where the dynamic header is in the file. */
  readonly headerAt: bigint
  /** In lower case, with hyphens. */
  readonly uniqueId: string
  /** When the disk was made, in seconds since 2000-01-01 UTC. */
  readonly createdSeconds: number
}

/** True if it begins like a footer; what follows may still be wrong. */
export function looksLikeFooter(bytes: Uint8Array): boolean {
  return bytes.length === footerBytes && decodeLatin(bytes.subarray(0, 8)) === cookie
}

/**
 * Spec: Virtual Hard Disk Image Format 1.0, "Hard Disk Footer Format": cookie 8 | features u32 | version u32 |
 * data offset u64 | time stamp u32 | creator 4 + u32 + 4 | original size u64 | current size u64 | geometry u32 |
 * disk type u32 | checksum u32 | unique id 16 | saved state u8 | reserved 427
 *
 * @param bytes 512 bytes that look like a footer, untrusted
 * @throws {ImageError} IMAGE_BAD_CHECKSUM, IMAGE_UNSUPPORTED_VERSION, IMAGE_BAD_STRUCTURE, IMAGE_TOO_LARGE
 */
export function decodeFooter(bytes: Uint8Array): Footer {
  const fields = new Reader(bytes)
  fields.skip(cookie.length + 4)
  const readVersion = fields.u32()
  const headerAt = fields.u64()
  const createdSeconds = fields.u32()
  fields.skip(12 + 8)
  const sizeBytes = fields.u64()
  fields.skip(4)
  const type = fields.u32()
  const checksum = fields.u32()
  const uniqueId = decodeGuid(fields.bytes(16), 'big-endian')

  requireChecksum('footer', checksum, checksumOf(bytes, checksumAt))
  if (readVersion >>> 16 !== version >>> 16) {
    throw new ImageError('IMAGE_UNSUPPORTED_VERSION', `expected VHD version 1, got ${readVersion >>> 16}`)
  }
  const diskType = Object.entries(diskTypes).find(([code]) => Number(code) === type)?.[1]
  if (diskType === undefined) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected VHD disk type 2, 3 or 4, got ${type}`)
  }
  if (sizeBytes > BigInt(maximumVhdBytes)) {
    throw new ImageError('IMAGE_TOO_LARGE', `expected at most ${maximumVhdBytes} bytes, got ${sizeBytes}`)
  }
  if (sizeBytes % BigInt(sectorBytes) !== 0n) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a size in whole sectors, got ${sizeBytes}`)
  }
  return { diskType, sizeBytes: Number(sizeBytes), headerAt, uniqueId, createdSeconds }
}

/** @throws {ImageError} IMAGE_BAD_STRUCTURE for a unique id that is none */
export function encodeFooter(footer: Footer): Uint8Array {
  const { cylinders, heads, sectorsPerTrack } = geometryOf(footer.sizeBytes)
  const type = footer.diskType === 'fixed' ? 2 : footer.diskType === 'dynamic' ? 3 : 4
  const bytes = new Writer(footerBytes)
    .utf8(cookie)
    .u32(2) // features: the reserved bit that is always set
    .u32(version)
    .u64(footer.headerAt)
    .u32(footer.createdSeconds)
    // As Hyper-V signs: QEMU and others take the size of unknown creators from the geometry, which is not exact.
    .utf8('win ')
    .u32(0x000a_0000)
    .utf8('Wi2k')
    .u64(BigInt(footer.sizeBytes))
    .u64(BigInt(footer.sizeBytes))
    .u16(cylinders)
    .u8(heads)
    .u8(sectorsPerTrack)
    .u32(type)
    .u32(0)
    .bytes(encodeGuid(footer.uniqueId, 'big-endian'))
    .bytes(new Uint8Array(428))
    .finish()
  return withChecksum(bytes, checksumAt)
}

/** The structure with its checksum filled in. */
export function withChecksum(structure: Uint8Array, at: number): Uint8Array {
  const signed = Uint8Array.from(structure)
  signed.set(new Writer(4).u32(checksumOf(structure, at)).finish(), at)
  return signed
}

/** @throws {ImageError} IMAGE_BAD_CHECKSUM */
export function requireChecksum(what: string, stated: number, computed: number): void {
  if (stated !== computed) {
    const sums = `expected ${computed.toString(16)}, got ${stated.toString(16)}`
    throw new ImageError('IMAGE_BAD_CHECKSUM', `VHD ${what}: ${sums}`)
  }
}

function decodeLatin(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}
