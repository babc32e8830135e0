import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import { readStructure, requireInside } from '../structure.ts'
import { crc32cOf } from './crc32c.ts'
import { Fields, mebibyte } from './fields.ts'
import type { Header } from './header.ts'
import { MebibyteClaims } from './mebibyte-claims.ts'

const copiesAt = [0x3_0000n, 0x4_0000n] as const
const tableBytes = 0x1_0000
const mostEntries = 2047
const names = {
  '2dc27766-f623-4200-9d64-115e9bfd4a08': 'bat',
  '8b7ca206-4790-4b9a-b8fe-575f050f886e': 'metadata',
} as const

export interface Region {
  readonly at: number
  readonly length: number
}

export interface Regions {
  readonly bat: Region
  readonly metadata: Region
  /** What headers, log and all regions take of the file; blocks may not. */
  readonly claims: MebibyteClaims
}

/**
 * Spec: [MS-VHDX] 2.2.3: "regi" | CRC u32 | entries u32 | reserved u32 | entries: guid | file offset u64 | length u32 |
 * required u32
 *
 * @param source after its log was replayed
 * @throws {ImageError} IMAGE_TRUNCATED, IMAGE_BAD_CHECKSUM, IMAGE_BAD_STRUCTURE, IMAGE_UNSUPPORTED_VERSION,
 *   IMAGE_BLOCK_OVERLAP
 */
export async function readRegions(
  source: ByteSource,
  header: Header,
  signal?: AbortSignal,
): Promise<Regions> {
  const table = await readTable(source, signal)
  const claims = new MebibyteClaims()
  claims.claim(0, 1)
  claim(source, claims, 'log', header.logAt, header.logBytes)
  const found: { bat?: Region; metadata?: Region } = {}
  for (let index = 0; index < table.u32(8); index++) {
    const at = 16 + index * 32
    const guid = table.guid(at)
    const place = table.u64(at + 16)
    const length = table.u32(at + 24)
    claim(source, claims, 'region', place, length)
    const name = Object.entries(names).find(([known]) => known === guid)?.[1]
    if (name !== undefined) found[name] = { at: Number(place), length }
    else if ((table.u32(at + 28) & 1) === 1) {
      throw new ImageError('IMAGE_UNSUPPORTED_VERSION', `expected known required regions, got ${guid}`)
    }
  }
  const { bat, metadata } = found
  if (bat === undefined || metadata === undefined) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      'expected a block allocation table and metadata, found not both',
    )
  }
  return { bat, metadata, claims }
}

async function readTable(source: ByteSource, signal: AbortSignal | undefined): Promise<Fields> {
  for (const at of copiesAt) {
    const fields = new Fields(await readStructure(source, 'region table', at, tableBytes, signal))
    if (fields.latin(0, 4) !== 'regi' || fields.u32(4) !== crc32cOf(fields.bytes, 4)) continue
    if (fields.u32(8) <= mostEntries) return fields
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected at most ${mostEntries} regions, got ${fields.u32(8)}`,
    )
  }
  throw new ImageError(
    'IMAGE_BAD_CHECKSUM',
    'expected one of two region tables to have its checksum, none has',
  )
}

function claim(source: ByteSource, claims: MebibyteClaims, what: string, at: bigint, length: number): void {
  if (at % BigInt(mebibyte) !== 0n || length % mebibyte !== 0) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected a ${what} of whole mebibytes, got ${length} at ${at}`,
    )
  }
  requireInside(source, what, at, BigInt(length))
  if (!claims.claim(Number(at) / mebibyte, length / mebibyte)) {
    throw new ImageError('IMAGE_BLOCK_OVERLAP', `the ${what} at ${at} shares bytes with another part`)
  }
}
