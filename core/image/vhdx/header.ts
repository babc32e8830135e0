import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import { readStructure } from '../structure.ts'
import { crc32cOf } from './crc32c.ts'
import { Fields, mebibyte } from './fields.ts'

export const fileIdentifier = 'vhdxfile'

const copiesAt = [0x1_0000n, 0x2_0000n] as const
const headerBytes = 4096

export interface Header {
  /** Changes whenever what a reader of the disk sees may change. */
  readonly dataWriteGuid: string
  /** Zero if there is nothing to replay. */
  readonly logGuid: string
  readonly logBytes: number
  readonly logAt: bigint
}

/**
 * Reads the file identifier and the header that counts: of two copies the valid one with the higher sequence number.
 *
 * Spec: [MS-VHDX] 2.2.1, 2.2.2: "head" | CRC u32 | sequence u64 | file write guid | data write guid | log guid |
 * log version u16 | version u16 | log length u32 | log offset u64
 *
 * @throws {ImageError} IMAGE_UNKNOWN_FORMAT, IMAGE_TRUNCATED, IMAGE_BAD_CHECKSUM, IMAGE_BAD_STRUCTURE,
 *   IMAGE_UNSUPPORTED_VERSION
 */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<Header> {
  const length = fileIdentifier.length
  const start = source.sizeBytes < BigInt(length) ? undefined : await source.read(0n, length, signal)
  if (start === undefined || new Fields(start).latin(0, length) !== fileIdentifier) {
    throw new ImageError('IMAGE_UNKNOWN_FORMAT', 'expected the identifier of a VHDX file, found none')
  }
  const copies: Fields[] = []
  for (const at of copiesAt) {
    const fields = new Fields(await readStructure(source, 'header', at, headerBytes, signal))
    if (fields.latin(0, 4) === 'head' && fields.u32(4) === crc32cOf(fields.bytes, 4)) copies.push(fields)
  }
  return decodeHeader(current(copies))
}

function current([first, second]: readonly Fields[]): Fields {
  if (first === undefined) {
    throw new ImageError('IMAGE_BAD_CHECKSUM', 'expected one of two headers to have its checksum, none has')
  }
  if (second === undefined) return first
  if (first.u64(8) !== second.u64(8)) return first.u64(8) > second.u64(8) ? first : second
  // Equal numbers are not allowed, but Disk2VHD writes one header twice.
  if (Buffer.compare(first.bytes, second.bytes) === 0) return first
  throw new ImageError('IMAGE_BAD_STRUCTURE', `expected one header to be newer, both are ${first.u64(8)}`)
}

function decodeHeader(fields: Fields): Header {
  const [logVersion, version] = [fields.u16(64), fields.u16(66)]
  if (version !== 1 || logVersion !== 0) {
    throw new ImageError(
      'IMAGE_UNSUPPORTED_VERSION',
      `expected VHDX version 1 with log version 0, got ${version} with ${logVersion}`,
    )
  }
  const logBytes = fields.u32(68)
  if (logBytes % mebibyte !== 0) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a log of whole mebibytes, got ${logBytes} bytes`)
  }
  return {
    dataWriteGuid: fields.guid(32),
    logGuid: fields.guid(48),
    logBytes,
    logAt: fields.u64(72),
  }
}
