import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import { PagedTable } from '../paged-table.ts'
import { mebibyte } from './fields.ts'
import type { Metadata } from './metadata.ts'
import type { Regions } from './regions.ts'

/** [MS-VHDX] 2.5.1.1. `unmapped` has two numbers: 5 is of drafts and in files of old writers. */
const states = {
  0: 'not-present',
  1: 'undefined',
  2: 'zero',
  3: 'unmapped',
  5: 'unmapped',
  6: 'fully-present',
  7: 'partially-present',
} as const

export interface TableEntry {
  readonly state: (typeof states)[keyof typeof states]
  /** Where the block is in the file; means something only if it is present. */
  readonly at: number
}

export interface BlockTable {
  /** Payload block `index` of the disk. */
  payload(index: number): Promise<TableEntry>
  /** The sector bitmap block of the chunk that payload block `index` is in. */
  bitmap(index: number): Promise<TableEntry>
  /** How many payload blocks share a bitmap block. */
  readonly chunkRatio: number
}

/**
 * The block allocation table: after every `chunkRatio` entries of payload blocks one of a sector bitmap block.
 *
 * Spec: [MS-VHDX] 2.5: state 3 bits | reserved 17 | file offset 44, in MiB
 *
 * INVARIANT: an entry that is returned and is present is whole in the file and shares no byte with any other part.
 *
 * @throws {ImageError} IMAGE_TRUNCATED; the table, when it is read: IMAGE_BLOCK_OUTSIDE, IMAGE_BLOCK_OVERLAP,
 *   IMAGE_BAD_STRUCTURE
 */
export function openBlockTable(source: ByteSource, regions: Regions, metadata: Metadata): BlockTable {
  const { blockBytes, sizeBytes, sectorBytes } = metadata
  const chunkRatio = (2 ** 23 * sectorBytes) / blockBytes
  const blocks = Math.ceil(sizeBytes / blockBytes)
  const chunks = Math.ceil(blocks / chunkRatio)
  // Without a parent there are no bitmaps, and the last chunk ends with its last block.
  const entries = metadata.parent === undefined ? blocks + Math.max(0, chunks - 1) : chunks * (chunkRatio + 1)
  if (entries * 8 > regions.bat.length) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected a block allocation table of ${entries * 8} bytes, got ${regions.bat.length}`,
    )
  }
  const table = new PagedTable({
    source,
    at: regions.bat.at,
    entries,
    entryBytes: 8,
    admit: admission(source, regions, metadata, chunkRatio),
  })
  return {
    chunkRatio,
    payload: async (index) => table.entry(index + Math.floor(index / chunkRatio), decodeEntry),
    bitmap: async (index) => {
      const chunk = Math.floor(index / chunkRatio)
      return table.entry(chunk * (chunkRatio + 1) + chunkRatio, decodeEntry)
    },
  }
}

function decodeEntry(page: DataView, offset: number): TableEntry {
  const [low, high] = [page.getUint32(offset, true), page.getUint32(offset + 4, true)]
  const state = Object.entries(states).find(([code]) => Number(code) === (low & 7))?.[1]
  if (state === undefined)
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a block state, got ${low & 7}`)
  return { state, at: (high * 4096 + (low >>> 20)) * mebibyte }
}

function admission(
  source: ByteSource,
  { claims }: Regions,
  { blockBytes, parent }: Metadata,
  chunkRatio: number,
): (page: DataView, first: number) => void {
  const fileBytes = Number(source.sizeBytes)
  return (page, first) => {
    for (let offset = 0; offset < page.byteLength; offset += 8) {
      const index = first + offset / 8
      const isBitmap = index % (chunkRatio + 1) === chunkRatio
      // Nobody reads bitmaps without a parent, and QEMU before 8.1 leaves other bytes there.
      if (isBitmap && parent === undefined) continue
      const { state, at } = decodeEntry(page, offset)
      if (state === 'partially-present' && (isBitmap || parent === undefined)) {
        throw new ImageError('IMAGE_BAD_STRUCTURE', `expected block ${index} whole or absent, got a part`)
      }
      if (state !== 'fully-present' && state !== 'partially-present') continue
      const length = isBitmap ? mebibyte : blockBytes
      if (at + length > fileBytes) {
        throw new ImageError(
          'IMAGE_BLOCK_OUTSIDE',
          `expected block ${index} in a file of ${fileBytes} bytes, got ${at}`,
        )
      }
      if (!claims.claim(at / mebibyte, length / mebibyte)) {
        throw new ImageError('IMAGE_BLOCK_OVERLAP', `block ${index} at ${at} shares bytes with another part`)
      }
    }
  }
}
