import type { BlockDevice, ByteSource } from '#core/block/block-device.ts'
import { type OpenedLayer, openChain } from '../chain.ts'
import { ImageError } from '../errors.ts'
import type { Layer, OpenOptions, Segment } from '../layer.ts'
import { mapBlocks, mapSectors } from '../map-blocks.ts'
import { RangeCache } from '../range-cache.ts'
import { type BlockTable, openBlockTable } from './block-table.ts'
import { readHeader } from './header.ts'
import { replayLog } from './log.ts'
import { type Metadata, readMetadata } from './metadata.ts'
import { readRegions } from './regions.ts'

/**
 * Opens a VHDX: fixed, dynamic or differencing with all its parents. The disk is read-only; a log that was not yet
 * replayed is, in memory.
 *
 * Source: [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format
 *
 * @param source owned by the disk, also when opening fails
 * @throws {ImageError} any code but IMAGE_SIZE_UNALIGNED; codes of single blocks when they are first needed
 */
export async function openVhdx(source: ByteSource, options: OpenOptions = {}): Promise<BlockDevice> {
  return openChain(source, openLayer, options)
}

async function openLayer(file: ByteSource, signal?: AbortSignal): Promise<OpenedLayer> {
  const header = await readHeader(file, signal)
  const source = await replayLog(file, header, signal)
  const regions = await readRegions(source, header, signal)
  const metadata = await readMetadata(source, regions.metadata, signal)
  const table = openBlockTable(source, regions, metadata)
  return {
    layer: blockLayer(source, metadata, table),
    identity: header.dataWriteGuid,
    parent: metadata.parent,
  }
}

function blockLayer(source: ByteSource, metadata: Metadata, table: BlockTable): Layer {
  const { blockBytes, sectorBytes, sizeBytes, parent } = metadata
  const bitmaps = new RangeCache(source)

  /** The sector bitmap of one block, which is a part of a bitmap block. Spec: [MS-VHDX] 2.4.1, 2.5.1.2 */
  const bitmapOf = async (index: number): Promise<Uint8Array> => {
    const { state, at } = await table.bitmap(index)
    if (state !== 'fully-present') {
      throw new ImageError(
        'IMAGE_BAD_STRUCTURE',
        `expected a sector bitmap for block ${index}, which is there in part`,
      )
    }
    const length = blockBytes / sectorBytes / 8
    return bitmaps.get(at + (index % table.chunkRatio) * length, length)
  }

  const mapBlock = async (index: number, within: number, length: number): Promise<readonly Segment[]> => {
    const { state, at } = await table.payload(index)
    switch (state) {
      case 'not-present':
        return [{ kind: parent === undefined ? 'hole' : 'parent', length }]
      case 'undefined':
      case 'unmapped':
        return [{ kind: 'hole', length }]
      case 'zero':
        return [{ kind: 'zero', length }]
      case 'fully-present':
        return [{ kind: 'data', length, source, at: at + within }]
      case 'partially-present':
        break
    }
    const block = {
      bitmap: await bitmapOf(index),
      order: 'lsb-first',
      sectorBytes,
      unwritten: 'parent',
      source,
      dataAt: at,
    } as const
    return mapSectors(block, within, length)
  }

  return {
    sizeBytes,
    blockSize: blockBytes,
    map: async (offset, length, signal) => mapBlocks({ offset, length }, blockBytes, mapBlock, signal),
  }
}
