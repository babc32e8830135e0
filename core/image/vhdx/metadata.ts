import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import type { ParentReference } from '../layer.ts'
import { readStructure } from '../structure.ts'
import { Fields, mebibyte } from './fields.ts'
import { decodeParentLocator } from './parent-locator.ts'
import type { Region } from './regions.ts'

const tableBytes = 0x1_0000
const mostItems = 2047
const maximumDiskBytes = 2 ** 46
const itemNames = {
  'caa16737-fa36-4d43-b3b6-33f0aa44e76b': 'fileParameters',
  '2fa54224-cd1b-4876-b211-5dbed83bf4b8': 'diskSize',
  'beca12ab-b2e6-4523-93ef-c309e000c746': 'page83',
  '8141bf1d-a96f-4709-ba47-f233a8faab5f': 'logicalSectorSize',
  'cda348c7-445d-4471-9cc9-e9885251c556': 'physicalSectorSize',
  'a8d35f2d-b30b-454d-abf7-d3d84834ab0c': 'parentLocator',
} as const
type ItemName = (typeof itemNames)[keyof typeof itemNames]

export interface Metadata {
  /** A power of two, 1 to 256 MiB. */
  readonly blockBytes: number
  /** At most 64 TiB, in whole logical sectors. */
  readonly sizeBytes: number
  readonly sectorBytes: 512 | 4096
  readonly parent: ParentReference | undefined
}

/**
 * Spec: [MS-VHDX] 2.6.1: "metadata" | reserved u16 | items u16 | reserved 20 | items: id guid | offset u32 | length u32 |
 * flags u32 (bit 0: user, bit 2: required) | reserved u32. Items: 2.6.2.
 *
 * @param source after its log was replayed
 * @throws {ImageError} IMAGE_TRUNCATED, IMAGE_BAD_STRUCTURE, IMAGE_UNSUPPORTED_VERSION, IMAGE_BLOCK_SIZE, IMAGE_TOO_LARGE
 */
export async function readMetadata(
  source: ByteSource,
  region: Region,
  signal?: AbortSignal,
): Promise<Metadata> {
  const items = await readItems(source, region, signal)
  const parameters = required(items, 'fileParameters', 8)
  const hasParent = (parameters.u32(4) & 2) !== 0
  const sectorBytes = required(items, 'logicalSectorSize', 4).u32(0)
  if (sectorBytes !== 512 && sectorBytes !== 4096) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected sectors of 512 or 4096 bytes, got ${sectorBytes}`)
  }
  return {
    blockBytes: blockSize(parameters.u32(0)),
    sizeBytes: diskSize(required(items, 'diskSize', 8).u64(0), sectorBytes),
    sectorBytes,
    parent: hasParent ? decodeParentLocator(required(items, 'parentLocator', 20)) : undefined,
  }
}

function blockSize(bytes: number): number {
  if (bytes < mebibyte || bytes > 256 * mebibyte || !Number.isInteger(Math.log2(bytes))) {
    throw new ImageError('IMAGE_BLOCK_SIZE', `expected a power of two from 1 to 256 MiB, got ${bytes}`)
  }
  return bytes
}

function diskSize(bytes: bigint, sectorBytes: number): number {
  if (bytes > BigInt(maximumDiskBytes)) {
    throw new ImageError('IMAGE_TOO_LARGE', `expected at most ${maximumDiskBytes} bytes, got ${bytes}`)
  }
  if (bytes % BigInt(sectorBytes) !== 0n) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a size in whole sectors, got ${bytes}`)
  }
  return Number(bytes)
}

async function readItems(
  source: ByteSource,
  region: Region,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<ItemName, Fields>> {
  const at = BigInt(region.at)
  const table = new Fields(await readStructure(source, 'metadata table', at, tableBytes, signal))
  const count = table.u16(10)
  if (table.latin(0, 8) !== 'metadata' || count > mostItems) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected a metadata table of at most ${mostItems} items, got ${count}`,
    )
  }
  const items = new Map<ItemName, Fields>()
  for (let index = 0; index < count; index++) {
    const entry = 32 + index * 32
    const id = table.guid(entry)
    const [offset, length, flags] = [table.u32(entry + 16), table.u32(entry + 20), table.u32(entry + 24)]
    // What users keep may have any id, also one of these.
    const name =
      (flags & 1) === 1 ? undefined : Object.entries(itemNames).find(([known]) => known === id)?.[1]
    if (name === undefined) {
      if ((flags & 4) === 0) continue
      throw new ImageError('IMAGE_UNSUPPORTED_VERSION', `expected known required metadata, got ${id}`)
    }
    if (items.has(name) || length > mebibyte || offset < tableBytes || offset + length > region.length) {
      throw new ImageError(
        'IMAGE_BAD_STRUCTURE',
        `expected one ${name} in the metadata, got ${length} bytes at ${offset}`,
      )
    }
    items.set(name, new Fields(await readStructure(source, name, at + BigInt(offset), length, signal)))
  }
  return items
}

function required(items: ReadonlyMap<ItemName, Fields>, name: ItemName, leastBytes: number): Fields {
  const item = items.get(name)
  if (item === undefined || item.bytes.length < leastBytes) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected ${leastBytes} bytes of ${name} in the metadata, got ${item?.bytes.length ?? 'none'}`,
    )
  }
  return item
}
