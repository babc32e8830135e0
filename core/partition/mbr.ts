import type { ByteSource } from '#core/block/block-device.ts'
import { mostPartitions, type Partition, requireInside } from './partition.ts'
import { PartitionError } from './partition-error.ts'

/** An MBR, whatever the size of the disk's sectors. */
export const mbrBytes = 512

const sectorBytes = 512n
const entriesAt = 446
const entryBytes = 16
const protectiveType = 0xee
const extendedTypes: ReadonlySet<number> = new Set([0x05, 0x0f, 0x85])

interface Entry {
  readonly type: number
  readonly start: bigint
  readonly sectors: bigint
}

/**
 * The four entries of a boot record: status u8 | CHS 3 | type u8 | CHS 3 | first sector u32 LE | sectors u32 LE.
 *
 * @returns undefined when it is none: without its signature, with a status that no entry has, or a file system's own
 */
export function decodeMbr(sector: Uint8Array): readonly Entry[] | undefined {
  if (sector.length < mbrBytes || sector[510] !== 0x55 || sector[511] !== 0xaa) return undefined
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength)
  const entries: Entry[] = []
  for (let at = entriesAt; at < 510; at += entryBytes) {
    const status = view.getUint8(at)
    if (status !== 0 && status !== 0x80) return undefined
    const type = view.getUint8(at + 4)
    entries.push({
      type,
      start: BigInt(view.getUint32(at + 8, true)),
      sectors: BigInt(view.getUint32(at + 12, true)),
    })
  }
  return isBootSectorOfFileSystem(view) ? undefined : entries
}

/** True for the MBR that stands before a GPT. */
export function isProtective(entries: readonly Entry[]): boolean {
  return entries.some(({ type }) => type === protectiveType)
}

/** @throws {PartitionError} PARTITION_OUTSIDE, PARTITION_CHAIN_CYCLIC, PARTITION_TOO_MANY, PARTITION_TABLE_CORRUPT */
export async function readMbr(
  source: ByteSource,
  entries: readonly Entry[],
  signal?: AbortSignal,
): Promise<readonly Partition[]> {
  const partitions: Partition[] = []
  const logical: Partition[] = []
  for (const [index, entry] of entries.entries()) {
    if (entry.type === 0 || entry.sectors === 0n) continue
    if (extendedTypes.has(entry.type)) {
      requireInside(
        source.sizeBytes,
        'the extended partition',
        entry.start * sectorBytes,
        entry.sectors * sectorBytes,
      )
      await readChain(source, entry, logical, signal)
    }
    partitions.push(partitionOf(source, index + 1, entry.start, entry))
  }
  return [...partitions, ...logical]
}

/** Each boot record of the chain has one logical partition, from where it is, and the next one, from where all began. */
async function readChain(
  source: ByteSource,
  extended: Entry,
  logical: Partition[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const seen = new Set<bigint>()
  let at: bigint | undefined = extended.start
  while (at !== undefined) {
    if (seen.has(at)) {
      throw new PartitionError(
        'PARTITION_CHAIN_CYCLIC',
        `the chain of logical partitions comes back to sector ${at}`,
      )
    }
    seen.add(at)
    if (seen.size > mostPartitions) {
      throw new PartitionError('PARTITION_TOO_MANY', `expected at most ${mostPartitions} logical partitions`)
    }
    const isInside = at >= extended.start && at < extended.start + extended.sectors
    if (!isInside)
      requireInside(extended.sectors, 'a boot record of the extended partition', at - extended.start, 1n)
    requireInside(source.sizeBytes, 'a boot record', at * sectorBytes, sectorBytes)
    const entries = decodeMbr(await source.read(at * sectorBytes, mbrBytes, signal))
    if (entries === undefined) {
      throw new PartitionError('PARTITION_TABLE_CORRUPT', `expected a boot record at sector ${at}, got none`)
    }
    at = takeRecord(source, entries, { extended, at, logical })
  }
}

/** @returns where the next one is */
function takeRecord(
  source: ByteSource,
  [first, second]: readonly Entry[],
  { extended, at, logical }: { extended: Entry; at: bigint; logical: Partition[] },
): bigint | undefined {
  if (first !== undefined && first.type !== 0 && first.sectors !== 0n) {
    logical.push(partitionOf(source, 5 + logical.length, at + first.start, first))
  }
  const goesOn = second !== undefined && extendedTypes.has(second.type) && second.sectors !== 0n
  return goesOn ? extended.start + second.start : undefined
}

function partitionOf(source: ByteSource, number: number, start: bigint, { type, sectors }: Entry): Partition {
  const [offset, sizeBytes] = [start * sectorBytes, sectors * sectorBytes]
  requireInside(source.sizeBytes, `partition ${number}`, offset, sizeBytes)
  return { number, offset, sizeBytes, type: type.toString(16).padStart(2, '0') }
}

/** A FAT or NTFS boot sector has the same signature; where it has its media byte an MBR has code. */
function isBootSectorOfFileSystem(view: DataView): boolean {
  const jump = view.getUint8(0)
  const bytesPerSector = view.getUint16(11, true)
  const media = view.getUint8(21)
  const isJump = jump === 0xeb || jump === 0xe9
  return isJump && [512, 1024, 2048, 4096].includes(bytesPerSector) && (media === 0xf0 || media >= 0xf8)
}
