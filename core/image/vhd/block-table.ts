import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import { PagedTable } from '../paged-table.ts'
import { requireInside } from '../structure.ts'
import { BlockClaims } from './block-claims.ts'
import { type DynamicHeader, headerBytes } from './dynamic-header.ts'
import { type Footer, footerBytes, sectorBytes } from './footer.ts'

/** In the table: no such block. */
export const absentBlock = 0xffff_ffff

/** 2040 GiB in blocks of 512 KiB, the smallest that are in use. */
const mostEntries = 1 << 22

/**
 * The layout of the blocks of one file. A block is a sector bitmap, in whole sectors, and its data.
 *
 * Spec: Virtual Hard Disk Image Format 1.0, "Block Allocation Table and Data Blocks": a bit for each sector, the first one highest
 */
export interface BlockLayout {
  readonly bitmapBytes: number
  readonly blockBytes: number
}

export function layoutOf(blockBytes: number): BlockLayout {
  const bits = blockBytes / sectorBytes
  return { blockBytes, bitmapBytes: Math.ceil(bits / 8 / sectorBytes) * sectorBytes }
}

/**
 * The block allocation table: for each block the sector where it starts, or `absentBlock`.
 *
 * Spec: Virtual Hard Disk Image Format 1.0, "Block Allocation Table and Data Blocks": u32 big-endian for each block, 0xffffffff for none
 *
 * INVARIANT: an entry that is returned names a block that is whole in the file and shares no byte with the headers, the
 * table or any other block seen so far.
 *
 * @throws {ImageError} IMAGE_BAD_STRUCTURE, IMAGE_TOO_LARGE, IMAGE_TRUNCATED; the table, when it is read:
 *   IMAGE_BLOCK_OUTSIDE, IMAGE_BLOCK_OVERLAP
 */
export function openBlockTable(
  source: ByteSource,
  footer: Footer,
  { tableAt, tableEntries, blockBytes }: DynamicHeader,
): PagedTable {
  const entries = Math.ceil(footer.sizeBytes / blockBytes)
  if (entries > mostEntries) {
    throw new ImageError('IMAGE_TOO_LARGE', `expected at most ${mostEntries} blocks, got ${entries}`)
  }
  if (entries > tableEntries) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a table of ${entries} blocks, got ${tableEntries}`)
  }
  requireInside(source, 'block allocation table', tableAt, BigInt(entries * 4))
  const structures: readonly Place[] = [
    { start: 0, end: footerBytes },
    { start: Number(footer.headerAt), end: Number(footer.headerAt) + headerBytes },
    { start: Number(tableAt), end: Number(tableAt) + entries * 4 },
  ]
  const layout = layoutOf(blockBytes)
  return new PagedTable({
    source,
    at: Number(tableAt),
    entries,
    entryBytes: 4,
    admit: admission(layout.bitmapBytes + layout.blockBytes, Number(source.sizeBytes), structures),
  })
}

interface Place {
  readonly start: number
  readonly end: number
}

function admission(
  length: number,
  fileBytes: number,
  structures: readonly Place[],
): (page: DataView, first: number) => void {
  const claims = new BlockClaims(length / sectorBytes)
  return (page, first) => {
    for (let offset = 0; offset < page.byteLength; offset += 4) {
      const sector = page.getUint32(offset)
      if (sector === absentBlock) continue
      const index = first + offset / 4
      const start = sector * sectorBytes
      if (start + length > fileBytes) {
        throw new ImageError(
          'IMAGE_BLOCK_OUTSIDE',
          `expected block ${index} in a file of ${fileBytes} bytes, got ${start}`,
        )
      }
      const isStructure = structures.some((place) => start < place.end && start + length > place.start)
      if (isStructure || !claims.claim(sector)) {
        throw new ImageError(
          'IMAGE_BLOCK_OVERLAP',
          `block ${index} at ${start} shares bytes with another part`,
        )
      }
    }
  }
}
