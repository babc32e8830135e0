import { crc32 } from 'node:zlib'
import type { ByteSource } from '#core/block/block-device.ts'
import { decodeGuid } from '#core/image/guid.ts'
import { mostPartitions, type Partition, requireInside } from './partition.ts'
import { PartitionError } from './partition-error.ts'

const signature = 'EFI PART'
const leastHeaderBytes = 92
const crcAt = 16
const nameAt = 56
const nameEnd = 128
const mostEntryBytes = 4096
const unused = '00000000-0000-0000-0000-000000000000'

interface Header {
  readonly entriesAt: bigint
  readonly entries: number
  readonly entryBytes: number
  readonly entriesCrc: number
}

/**
 * Reads a GUID partition table; its backup at the end of the disk when the first one is broken.
 *
 * Spec: UEFI 2.10 section 5.3.2 and 5.3.3
 *
 * @returns undefined when neither is there
 * @throws {PartitionError} PARTITION_TABLE_CORRUPT, PARTITION_OUTSIDE, PARTITION_TOO_MANY
 */
export async function readGpt(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<readonly Partition[] | undefined> {
  let isThere = false
  for (const sectorBytes of [512, 4096]) {
    const sectors = source.sizeBytes / BigInt(sectorBytes)
    for (const at of sectors < 3n ? [] : [1n, sectors - 1n]) {
      const sector = await source.read(at * BigInt(sectorBytes), sectorBytes, signal)
      if (Buffer.from(sector.subarray(0, 8)).toString('latin1') !== signature) continue
      isThere = true
      const header = decodeHeader(sector, at)
      const entries = header && (await readEntries(source, header, sectorBytes, signal))
      if (entries) return partitionsOf(source, entries, header, BigInt(sectorBytes))
    }
  }
  if (!isThere) return undefined
  throw new PartitionError('PARTITION_TABLE_CORRUPT', 'neither the GPT of the disk nor its backup is whole', {
    remedy: 'Repair the partition table, with `sgdisk --verify` for instance.',
  })
}

/**
 * signature 8 | revision u32 | size u32 | CRC u32 | reserved u32 | own sector u64 | other u64 | first and last usable
 * u64 | disk GUID 16 | entries u64 | number u32 | size of one u32 | CRC of all u32; little-endian
 *
 * @returns undefined when it is not whole
 */
function decodeHeader(sector: Uint8Array, at: bigint): Header | undefined {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength)
  const size = view.getUint32(12, true)
  if (size < leastHeaderBytes || size > sector.length) return undefined
  const signed = sector.slice(0, size)
  signed.fill(0, crcAt, crcAt + 4)
  const isWhole = crc32(signed) === view.getUint32(crcAt, true) && view.getBigUint64(24, true) === at
  if (!isWhole) return undefined
  const entryBytes = view.getUint32(84, true)
  if (entryBytes < nameEnd || entryBytes > mostEntryBytes || entryBytes % 8 !== 0) return undefined
  return {
    entriesAt: view.getBigUint64(72, true),
    entries: view.getUint32(80, true),
    entryBytes,
    entriesCrc: view.getUint32(88, true),
  }
}

/** @returns undefined when they are not whole */
async function readEntries(
  source: ByteSource,
  { entriesAt, entries, entryBytes, entriesCrc }: Header,
  sectorBytes: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  if (entries > mostPartitions) {
    throw new PartitionError(
      'PARTITION_TOO_MANY',
      `expected at most ${mostPartitions} entries, got ${entries}`,
    )
  }
  const [offset, length] = [entriesAt * BigInt(sectorBytes), entries * entryBytes]
  if (offset + BigInt(length) > source.sizeBytes) return undefined
  const bytes = await source.read(offset, length, signal)
  return crc32(bytes) === entriesCrc ? bytes : undefined
}

function partitionsOf(
  source: ByteSource,
  bytes: Uint8Array,
  { entries, entryBytes }: Header,
  sectorBytes: bigint,
): readonly Partition[] {
  const partitions: Partition[] = []
  for (let index = 0; index < entries; index++) {
    const entry = bytes.subarray(index * entryBytes, (index + 1) * entryBytes)
    const type = decodeGuid(entry.subarray(0, 16), 'windows')
    if (type === unused) continue
    const view = new DataView(entry.buffer, entry.byteOffset, entry.byteLength)
    const offset = view.getBigUint64(32, true) * sectorBytes
    const sizeBytes = (view.getBigUint64(40, true) + 1n) * sectorBytes - offset
    requireInside(source.sizeBytes, `partition ${index + 1}`, offset, sizeBytes)
    const name = Buffer.from(entry.subarray(nameAt, nameEnd)).toString('utf16le').replace(/\0.*$/su, '')
    partitions.push({ number: index + 1, offset, sizeBytes, type, ...(name === '' ? {} : { name }) })
  }
  return partitions
}
