import type { ByteSource } from '#core/block/block-device.ts'
import { type BitOrder, runsOf } from './bitmap.ts'
import type { Segment } from './layer.ts'

/** Maps a range block by block. `mapBlock` is asked for a part that is inside one block. */
export async function mapBlocks(
  range: { readonly offset: number; readonly length: number },
  blockBytes: number,
  mapBlock: (index: number, within: number, length: number) => Promise<readonly Segment[]>,
  signal: AbortSignal | undefined,
): Promise<Segment[]> {
  const segments: Segment[] = []
  const end = range.offset + range.length
  for (let at = range.offset; at < end; ) {
    signal?.throwIfAborted()
    const within = at % blockBytes
    const length = Math.min(blockBytes - within, end - at)
    for (const segment of await mapBlock(Math.floor(at / blockBytes), within, length)) segments.push(segment)
    at += length
  }
  return segments
}

export interface PartlyWritten {
  /** One bit for each sector of the block. */
  readonly bitmap: Uint8Array
  readonly order: BitOrder
  readonly sectorBytes: number
  /** What a sector is whose bit is not set. */
  readonly unwritten: 'parent' | 'zero'
  readonly source: ByteSource
  /** Where the data of the block begins. */
  readonly dataAt: number
}

/** Maps a part of a block of which only some sectors were written. It may begin and end inside a sector. */
export function mapSectors(block: PartlyWritten, within: number, length: number): Segment[] {
  const { bitmap, order, sectorBytes, unwritten, source, dataAt } = block
  const first = Math.floor(within / sectorBytes)
  const end = Math.ceil((within + length) / sectorBytes)
  let sector = first
  return runsOf(bitmap, order, first, end).map((run): Segment => {
    const start = Math.max(within, sector * sectorBytes)
    sector += run.length
    const part = Math.min(within + length, sector * sectorBytes) - start
    return run.isSet
      ? { kind: 'data', length: part, source, at: dataAt + start }
      : { kind: unwritten, length: part }
  })
}
