import type { BlockDevice, ByteSource } from '#core/block/block-device.ts'
import { type OpenedLayer, openChain } from '../chain.ts'
import { ImageError } from '../errors.ts'
import type { Layer, OpenOptions, Segment } from '../layer.ts'
import { mapBlocks, mapSectors } from '../map-blocks.ts'
import { RangeCache } from '../range-cache.ts'
import { readStructure, requireInside } from '../structure.ts'
import { absentBlock, layoutOf, openBlockTable } from './block-table.ts'
import { type DynamicHeader, decodeDynamicHeader, headerBytes } from './dynamic-header.ts'
import { decodeFooter, type Footer, footerBytes, looksLikeFooter, sectorBytes } from './footer.ts'
import { readParent } from './parent.ts'

/**
 * Opens a VHD: fixed, dynamic or differencing with all its parents. The disk is read-only.
 *
 * Source: Virtual Hard Disk Image Format 1.0
 *
 * @param source owned by the disk, also when opening fails
 * @throws {ImageError} any code but IMAGE_LOG_CORRUPT and IMAGE_SIZE_UNALIGNED; codes of single blocks when they are
 *   first needed
 */
export async function openVhd(source: ByteSource, options: OpenOptions = {}): Promise<BlockDevice> {
  return openChain(source, openLayer, options)
}

/**
 * The footer, which is at the end of the file. Disks that grow have a copy at the start, which counts when the end was
 * lost.
 *
 * @returns undefined if neither is there
 * @throws {ImageError} as `decodeFooter`
 */
export async function readFooter(source: ByteSource, signal?: AbortSignal): Promise<Footer | undefined> {
  if (source.sizeBytes < BigInt(footerBytes)) return undefined
  const last = await source.read(source.sizeBytes - BigInt(footerBytes), footerBytes, signal)
  if (looksLikeFooter(last)) return decodeFooter(last)
  const first = await source.read(0n, footerBytes, signal)
  if (!looksLikeFooter(first)) return undefined
  const footer = decodeFooter(first)
  if (footer.diskType === 'fixed') {
    throw new ImageError('IMAGE_BAD_STRUCTURE', 'expected the footer of a fixed disk at the end only')
  }
  return footer
}

async function openLayer(source: ByteSource, signal?: AbortSignal): Promise<OpenedLayer> {
  const footer = await readFooter(source, signal)
  if (footer === undefined) throw new ImageError('IMAGE_UNKNOWN_FORMAT', 'expected a VHD footer, found none')
  if (footer.diskType === 'fixed') {
    requireInside(source, 'disk', 0n, BigInt(footer.sizeBytes + footerBytes))
    return { layer: fixedLayer(source, footer), identity: footer.uniqueId, parent: undefined }
  }
  const header = decodeDynamicHeader(
    await readStructure(source, 'dynamic header', footer.headerAt, headerBytes, signal),
  )
  const isDifferencing = footer.diskType === 'differencing'
  return {
    layer: blockLayer(source, footer, header),
    identity: footer.uniqueId,
    parent: isDifferencing ? await readParent(source, header.parent) : undefined,
  }
}

function fixedLayer(source: ByteSource, { sizeBytes }: Footer): Layer {
  return {
    sizeBytes,
    blockSize: 1 << 20,
    map: async (at, length) => [{ kind: 'data', length, source, at }],
  }
}

function blockLayer(source: ByteSource, footer: Footer, header: DynamicHeader): Layer {
  const { blockBytes, bitmapBytes } = layoutOf(header.blockBytes)
  const table = openBlockTable(source, footer, header)
  const bitmaps = new RangeCache(source)
  // A sector that was never written: in a differencing disk the parent has it.
  const absent = footer.diskType === 'differencing' ? 'parent' : 'hole'
  const unwritten = footer.diskType === 'differencing' ? 'parent' : 'zero'

  const mapBlock = async (index: number, within: number, length: number): Promise<readonly Segment[]> => {
    const sector = await table.entry(index, (page, offset) => page.getUint32(offset))
    if (sector === absentBlock) return [{ kind: absent, length }]
    const bitmapAt = sector * sectorBytes
    const bitmap = await bitmaps.get(bitmapAt, bitmapBytes)
    const block = {
      bitmap,
      order: 'msb-first',
      sectorBytes,
      unwritten,
      source,
      dataAt: bitmapAt + bitmapBytes,
    } as const
    return mapSectors(block, within, length)
  }

  return {
    sizeBytes: footer.sizeBytes,
    blockSize: blockBytes,
    map: async (offset, length, signal) => mapBlocks({ offset, length }, blockBytes, mapBlock, signal),
  }
}
