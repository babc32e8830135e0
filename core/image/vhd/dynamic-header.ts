import { encodeUtf8, Reader, Writer } from '#core/bytes/index.ts'
import { ImageError } from '../errors.ts'
import { decodeGuid, encodeGuid } from '../guid.ts'
import { checksumOf } from './checksum.ts'
import { requireChecksum, withChecksum } from './footer.ts'

export const headerBytes = 1024
export const defaultBlockBytes: number = 2 << 20

const cookie = 'cxsparse'
const version = 0x0001_0000
const checksumAt = 36
const nameBytes = 512
const locatorCount = 8
const leastBlockBytes = 4096
const mostBlockBytes = 256 << 20

export interface DynamicHeader {
  /** Where the block allocation table is in the file. */
  readonly tableAt: bigint
  readonly tableEntries: number
  /** Of the data of one block, without its sector bitmap: a power of two, 4 KiB to 256 MiB. */
  readonly blockBytes: number
  /** Means something only in a differencing disk. */
  readonly parent: HeaderParent
}

export interface HeaderParent {
  readonly uniqueId: string
  /** When the parent had changed last, in seconds since 2000-01-01 UTC. */
  readonly modifiedSeconds: number
  /** File name, at most 256 UTF-16 units. */
  readonly name: string
  /** At most eight. */
  readonly locators: readonly ParentLocator[]
}

/** Where in the file a path to the parent is. */
export interface ParentLocator {
  /** Four characters such as `W2ru`. */
  readonly platform: string
  readonly at: bigint
  readonly length: number
}

/**
 * Spec: Virtual Hard Disk Image Format 1.0, "Dynamic Disk Header Format": cookie 8 | data offset u64 |
 * table offset u64 | version u32 | table entries u32 | block size u32 | checksum u32 | parent unique id 16 |
 * parent time u32 | reserved u32 | parent name UTF-16BE 512 | 8 locators: platform 4 | space u32 | length u32 |
 * reserved u32 | offset u64 | reserved 256
 *
 * @param bytes 1024 bytes, untrusted
 * @throws {ImageError} IMAGE_BAD_STRUCTURE, IMAGE_BAD_CHECKSUM, IMAGE_UNSUPPORTED_VERSION, IMAGE_BLOCK_SIZE
 */
export function decodeDynamicHeader(bytes: Uint8Array): DynamicHeader {
  const fields = new Reader(bytes)
  if (!Buffer.from(encodeUtf8(cookie)).equals(fields.bytes(cookie.length))) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', 'expected a dynamic header, got other bytes')
  }
  fields.skip(8)
  const tableAt = fields.u64()
  const readVersion = fields.u32()
  const tableEntries = fields.u32()
  const blockBytes = fields.u32()
  requireChecksum('dynamic header', fields.u32(), checksumOf(bytes, checksumAt))
  if (readVersion >>> 16 !== version >>> 16) {
    throw new ImageError(
      'IMAGE_UNSUPPORTED_VERSION',
      `expected dynamic header version 1, got ${readVersion >>> 16}`,
    )
  }
  // Division, not bit operations: 2^31 is negative among those.
  if (
    blockBytes < leastBlockBytes ||
    blockBytes > mostBlockBytes ||
    !Number.isInteger(Math.log2(blockBytes))
  ) {
    throw new ImageError(
      'IMAGE_BLOCK_SIZE',
      `expected a power of two from ${leastBlockBytes} to ${mostBlockBytes}, got ${blockBytes}`,
    )
  }
  return { tableAt, tableEntries, blockBytes, parent: decodeParent(fields) }
}

/** @throws {ImageError} IMAGE_BAD_STRUCTURE for a unique id that is none or a name that is too long */
export function encodeDynamicHeader({
  tableAt,
  tableEntries,
  blockBytes,
  parent,
}: DynamicHeader): Uint8Array {
  const writer = new Writer(headerBytes)
    .utf8(cookie)
    .u64(0xffff_ffff_ffff_ffffn)
    .u64(tableAt)
    .u32(version)
    .u32(tableEntries)
    .u32(blockBytes)
    .u32(0)
    .bytes(encodeGuid(parent.uniqueId, 'big-endian'))
    .u32(parent.modifiedSeconds)
    .u32(0)
    .bytes(encodeName(parent.name))
  for (const { platform, at, length } of parent.locators.slice(0, locatorCount)) {
    writer
      .utf8(platform)
      .u32(Math.ceil(length / 512) * 512)
      .u32(length)
      .u32(0)
      .u64(at)
  }
  return withChecksum(writer.bytes(new Uint8Array(headerBytes - writer.length)).finish(), checksumAt)
}

function decodeParent(fields: Reader): HeaderParent {
  const uniqueId = decodeGuid(fields.bytes(16), 'big-endian')
  const modifiedSeconds = fields.u32()
  fields.skip(4)
  const name = decodeName(fields.bytes(nameBytes))
  const locators = Array.from({ length: locatorCount }, () => decodeLocator(fields))
  return { uniqueId, modifiedSeconds, name, locators: locators.filter(({ length }) => length > 0) }
}

function decodeLocator(fields: Reader): ParentLocator {
  const platform = Buffer.from(fields.bytes(4)).toString('latin1')
  fields.skip(4)
  const length = fields.u32()
  fields.skip(4)
  return { platform, length, at: fields.u64() }
}

function decodeName(bytes: Uint8Array): string {
  const [name] = new TextDecoder('utf-16be', { ignoreBOM: true }).decode(bytes).split('\0', 1)
  return name ?? ''
}

function encodeName(name: string): Uint8Array {
  const bytes = new Uint8Array(nameBytes)
  if (name.length * 2 > nameBytes) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a name of 256 UTF-16 units, got ${name.length}`)
  }
  bytes.set(Buffer.from(name, 'utf16le').swap16())
  return bytes
}
