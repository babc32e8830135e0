import { encodeGuid } from '../guid.ts'
import { crc32cOf } from './crc32c.ts'
import { mebibyte } from './fields.ts'

export interface VhdxPlan {
  readonly dataWriteGuid: string
  readonly sizeBytes: number
  readonly blockBytes: number
  readonly sectorBytes: 512 | 4096
  /** What was written: the byte that fills each sector. */
  readonly sectors: ReadonlyMap<number, number>
  /** Blocks that were set to zeros as a whole. */
  readonly zeroBlocks?: readonly number[]
  /** Keys and values of the parent locator; makes it a differencing disk. */
  readonly parent?: Readonly<Record<string, string>>
}

/** Where a plan's parts are. The log, of 1 MiB, is empty. */
export const places = { logAt: mebibyte, metadataAt: 2 * mebibyte, tableAt: 3 * mebibyte } as const

/** Makes a VHDX; a differencing one no program of the test machine could. */
export function buildVhdx(plan: VhdxPlan): Uint8Array {
  const { sizeBytes, blockBytes, sectorBytes, sectors } = plan
  const chunkRatio = (2 ** 23 * sectorBytes) / blockBytes
  const written = new Set(
    [...sectors.keys()].map((sector) => Math.floor((sector * sectorBytes) / blockBytes)),
  )
  const bitmapsAt = 4 * mebibyte
  const chunks = Math.ceil(sizeBytes / blockBytes / chunkRatio)
  const blocksAt = bitmapsAt + chunks * mebibyte
  const file = new Uint8Array(blocksAt + written.size * blockBytes)
  const view = new DataView(file.buffer)
  const tableEntry = (index: number, state: number, at: number): void =>
    view.setBigUint64(places.tableAt + index * 8, BigInt(state) | (BigInt(at) & ~0xf_ffffn), true)

  writeHeaders(file, plan.dataWriteGuid)
  writeMetadata(file, plan)
  const blocks = [...written]
  const present = plan.parent === undefined ? 6 : 7
  for (const [place, block] of blocks.entries()) {
    tableEntry(block + Math.floor(block / chunkRatio), present, blocksAt + place * blockBytes)
  }
  for (const block of plan.zeroBlocks ?? []) tableEntry(block + Math.floor(block / chunkRatio), 2, 0)
  if (plan.parent !== undefined) {
    for (let chunk = 0; chunk < chunks; chunk++) {
      tableEntry(chunk * (chunkRatio + 1) + chunkRatio, 6, bitmapsAt + chunk * mebibyte)
    }
  }
  for (const [sector, value] of sectors) {
    const offset = sector * sectorBytes
    const at = blocksAt + blocks.indexOf(Math.floor(offset / blockBytes)) * blockBytes + (offset % blockBytes)
    file.fill(value, at, at + sectorBytes)
    // Bitmap blocks lie side by side, each of 2^23 bits.
    const byte = bitmapsAt + Math.floor(sector / 8)
    file[byte] = (file[byte] ?? 0) | (1 << (sector % 8))
  }
  return file
}

/** Makes the checksums of headers and region tables right again. */
export function resignVhdx(file: Uint8Array): void {
  for (const [at, length] of [
    [0x1_0000, 4096],
    [0x2_0000, 4096],
    [0x3_0000, 0x1_0000],
    [0x4_0000, 0x1_0000],
  ] as const) {
    new DataView(file.buffer).setUint32(at + 4, crc32cOf(file.subarray(at, at + length), 4), true)
  }
}

export interface LogEntryPlan {
  /** Where in the log; entries may run over its end. */
  readonly at: number
  readonly tail: number
  readonly sequence: number
  /** Whole sectors of 4 KiB to be written, or a number of bytes to be set to zeros. */
  readonly writes: readonly { readonly at: number; readonly value: Uint8Array | number }[]
  readonly flushedFileBytes?: number
  readonly lastFileBytes?: number
}

export const logGuid = '11111111-2222-4333-8444-555555555555'

/** The file with a log that must be replayed. Its log is where its header says. */
export function withLog(file: Uint8Array, entries: readonly LogEntryPlan[]): Uint8Array {
  const dirty = Uint8Array.from(file)
  const view = new DataView(dirty.buffer)
  for (const headerAt of [0x1_0000, 0x2_0000]) dirty.set(encodeGuid(logGuid, 'windows'), headerAt + 48)
  resignVhdx(dirty)
  const newer = view.getBigUint64(0x1_0008, true) > view.getBigUint64(0x2_0008, true) ? 0x1_0000 : 0x2_0000
  const logAt = Number(view.getBigUint64(newer + 72, true))
  const logBytes = view.getUint32(newer + 68, true)
  for (const plan of entries) {
    const entry = encodeLogEntry(plan, dirty.length)
    for (let offset = 0; offset < entry.length; offset += 4096) {
      dirty.set(entry.subarray(offset, offset + 4096), logAt + ((plan.at + offset) % logBytes))
    }
  }
  return dirty
}

function encodeLogEntry(plan: LogEntryPlan, fileBytes: number): Uint8Array {
  const data = plan.writes.filter(({ value }) => typeof value !== 'number')
  const descriptorBytes = Math.ceil((64 + plan.writes.length * 32) / 4096) * 4096
  const entry = new Uint8Array(descriptorBytes + data.length * 4096)
  const view = new DataView(entry.buffer)
  const sequence = BigInt(plan.sequence)
  entry.set(Buffer.from('loge'))
  view.setUint32(8, entry.length, true)
  view.setUint32(12, plan.tail, true)
  view.setBigUint64(16, sequence, true)
  view.setUint32(24, plan.writes.length, true)
  entry.set(encodeGuid(logGuid, 'windows'), 32)
  view.setBigUint64(48, BigInt(plan.flushedFileBytes ?? fileBytes), true)
  view.setBigUint64(56, BigInt(plan.lastFileBytes ?? fileBytes), true)
  let dataAt = descriptorBytes
  for (const [index, { at, value }] of plan.writes.entries()) {
    const descriptor = 64 + index * 32
    view.setBigUint64(descriptor + 16, BigInt(at), true)
    view.setBigUint64(descriptor + 24, sequence, true)
    if (typeof value === 'number') {
      entry.set(Buffer.from('zero'), descriptor)
      view.setBigUint64(descriptor + 8, BigInt(value), true)
      continue
    }
    entry.set(Buffer.from('desc'), descriptor)
    entry.set(value.subarray(4092), descriptor + 4)
    entry.set(value.subarray(0, 8), descriptor + 8)
    entry.set(value, dataAt)
    entry.set(Buffer.from('data'), dataAt)
    view.setUint32(dataAt + 4, Number(sequence >> 32n), true)
    view.setUint32(dataAt + 4092, Number(sequence & 0xffff_ffffn), true)
    dataAt += 4096
  }
  view.setUint32(4, crc32cOf(entry, 4), true)
  return entry
}

function writeHeaders(file: Uint8Array, dataWriteGuid: string): void {
  const view = new DataView(file.buffer)
  file.set(Buffer.from('vhdxfile'))
  for (const [at, sequence] of [
    [0x1_0000, 1n],
    [0x2_0000, 2n],
  ] as const) {
    file.set(Buffer.from('head'), at)
    view.setBigUint64(at + 8, sequence, true)
    file.set(encodeGuid(dataWriteGuid, 'windows'), at + 32)
    view.setUint16(at + 66, 1, true)
    view.setUint32(at + 68, mebibyte, true)
    view.setBigUint64(at + 72, BigInt(places.logAt), true)
  }
  for (const at of [0x3_0000, 0x4_0000]) {
    file.set(Buffer.from('regi'), at)
    view.setUint32(at + 8, 2, true)
    for (const [index, guid, place] of [
      [0, '2dc27766-f623-4200-9d64-115e9bfd4a08', places.tableAt],
      [1, '8b7ca206-4790-4b9a-b8fe-575f050f886e', places.metadataAt],
    ] as const) {
      const entry = at + 16 + index * 32
      file.set(encodeGuid(guid, 'windows'), entry)
      view.setBigUint64(entry + 16, BigInt(place), true)
      view.setUint32(entry + 24, mebibyte, true)
      view.setUint32(entry + 28, 1, true)
    }
  }
  resignVhdx(file)
}

/** As all machines that the tests run on: little-endian. */
function u32(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer)
}

function writeMetadata(file: Uint8Array, { sizeBytes, blockBytes, sectorBytes, parent }: VhdxPlan): void {
  const items: [string, Uint8Array][] = [
    ['caa16737-fa36-4d43-b3b6-33f0aa44e76b', u32(blockBytes, parent === undefined ? 0 : 2)],
    ['2fa54224-cd1b-4876-b211-5dbed83bf4b8', new Uint8Array(BigUint64Array.of(BigInt(sizeBytes)).buffer)],
    ['8141bf1d-a96f-4709-ba47-f233a8faab5f', u32(sectorBytes)],
    ['cda348c7-445d-4471-9cc9-e9885251c556', u32(4096)],
    ['beca12ab-b2e6-4523-93ef-c309e000c746', encodeGuid('99999999-2222-4333-8444-555555555555', 'windows')],
  ]
  if (parent !== undefined) items.push(['a8d35f2d-b30b-454d-abf7-d3d84834ab0c', encodeLocator(parent)])
  const view = new DataView(file.buffer)
  file.set(Buffer.from('metadata'), places.metadataAt)
  view.setUint16(places.metadataAt + 10, items.length, true)
  let offset = 0x1_0000
  for (const [index, [id, bytes]] of items.entries()) {
    const entry = places.metadataAt + 32 + index * 32
    file.set(encodeGuid(id, 'windows'), entry)
    view.setUint32(entry + 16, offset, true)
    view.setUint32(entry + 20, bytes.length, true)
    view.setUint32(entry + 24, index === 0 || index === 5 ? 4 : 6, true)
    file.set(bytes, places.metadataAt + offset)
    offset += bytes.length
  }
}

function encodeLocator(pairs: Readonly<Record<string, string>>): Uint8Array {
  const entries = Object.entries(pairs)
  const texts = entries.flat().map((text) => Buffer.from(text, 'utf16le'))
  const head = Buffer.alloc(20 + entries.length * 12)
  head.set(encodeGuid('b04aefb7-d19e-4a81-b789-25b8e9445913', 'windows'))
  head.writeUInt16LE(entries.length, 18)
  let at = head.length
  for (const [index, text] of texts.entries()) {
    const entry = 20 + Math.floor(index / 2) * 12
    head.writeUInt32LE(at, entry + (index % 2) * 4)
    head.writeUInt16LE(text.length, entry + 8 + (index % 2) * 2)
    at += text.length
  }
  return Uint8Array.from(Buffer.concat([head, ...texts]))
}
