import { Writer } from '#core/bytes/index.ts'
import { absentBlock, layoutOf } from './block-table.ts'
import { encodeDynamicHeader, type HeaderParent, headerBytes, type ParentLocator } from './dynamic-header.ts'
import { encodeFooter, footerBytes, sectorBytes } from './footer.ts'

export interface VhdPlan {
  readonly uniqueId: string
  readonly sizeBytes: number
  readonly blockBytes: number
  /** What was written: the byte that fills each sector. Others are not marked in the sector bitmap. */
  readonly sectors: ReadonlyMap<number, number>
  /** Makes it a differencing disk. */
  readonly parent?: {
    readonly uniqueId: string
    readonly modifiedSeconds?: number
    readonly name?: string
    readonly paths?: readonly { readonly platform: string; readonly path: string }[]
  }
}

const noParent = '00000000-0000-0000-0000-000000000000'
const locatorsAt = footerBytes + headerBytes
const locatorBytes = 1024

/** Makes a dynamic or differencing VHD, which no program of the test machine could. Blocks are in falling order. */
export function buildVhd(plan: VhdPlan): Uint8Array {
  const { uniqueId, sizeBytes, blockBytes, sectors, parent } = plan
  const tableEntries = Math.ceil(sizeBytes / blockBytes)
  const tableAt = locatorsAt + (parent?.paths ?? []).length * locatorBytes
  const blocksAt = tableAt + Math.ceil((tableEntries * 4) / sectorBytes) * sectorBytes
  const written = new Set(
    [...sectors.keys()].map((sector) => Math.floor((sector * sectorBytes) / blockBytes)),
  )
  const blocks = [...written].toSorted((a, b) => b - a)
  const stride = layoutOf(blockBytes).bitmapBytes + blockBytes
  const file = new Uint8Array(blocksAt + blocks.length * stride + footerBytes)

  const footer = encodeFooter({
    diskType: parent === undefined ? 'dynamic' : 'differencing',
    sizeBytes,
    headerAt: BigInt(footerBytes),
    uniqueId,
    createdSeconds: 1,
  })
  file.set(footer)
  file.set(footer, file.length - footerBytes)
  const header = { tableAt: BigInt(tableAt), tableEntries, blockBytes, parent: writeParent(file, parent) }
  file.set(encodeDynamicHeader(header), footerBytes)
  const table = new Writer(tableEntries * 4)
  for (let block = 0; block < tableEntries; block++) {
    const place = blocks.indexOf(block)
    table.u32(place < 0 ? absentBlock : (blocksAt + place * stride) / sectorBytes)
  }
  file.set(table.finish(), tableAt)
  for (const [index, block] of blocks.entries()) {
    const at = blocksAt + index * stride
    file.set(blockOf(plan, block), at)
  }
  return file
}

function writeParent(file: Uint8Array, parent: VhdPlan['parent']): HeaderParent {
  const locators = (parent?.paths ?? []).map(({ platform, path }, index): ParentLocator => {
    const text = Buffer.from(path, 'utf16le')
    const at = locatorsAt + index * locatorBytes
    file.set(text, at)
    return { platform, at: BigInt(at), length: text.length }
  })
  const { uniqueId = noParent, modifiedSeconds = 0, name = '' } = parent ?? {}
  return { uniqueId, modifiedSeconds, name, locators }
}

/** The sector bitmap of a block and its data. */
function blockOf({ blockBytes, sectors }: VhdPlan, block: number): Uint8Array {
  const { bitmapBytes } = layoutOf(blockBytes)
  const bytes = new Uint8Array(bitmapBytes + blockBytes)
  const first = (block * blockBytes) / sectorBytes
  for (const [sector, value] of sectors) {
    const start = bitmapBytes + (sector - first) * sectorBytes
    if (start < bitmapBytes || start >= bytes.length) continue
    const place = Math.floor((sector - first) / 8)
    bytes[place] = (bytes[place] ?? 0) | (0x80 >> ((sector - first) % 8))
    bytes.fill(value, start, start + sectorBytes)
  }
  return bytes
}
