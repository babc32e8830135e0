import type { BlockDevice } from '#core/block/block-device.ts'
import { sliced } from '#core/block/sliced.ts'
import { type FileSystem, type Partition, probeFileSystem, readPartitions } from '#core/partition/index.ts'
import { DiskError } from './disk-error.ts'

/** A part of a disk that is exported under its own name. */
export interface ExportedPartition extends Partition {
  /** `p1` for partition 1. */
  readonly exportName: string
  readonly device: BlockDevice
}

/** What a Linux system can be on. */
const linuxTypes: ReadonlySet<FileSystem['type']> = new Set([
  'ext2',
  'ext3',
  'ext4',
  'xfs',
  'btrfs',
  'squashfs',
])

/** The partitions of a disk; none when it has no partition table. @throws {PartitionError} */
export async function partitionsOf(device: BlockDevice): Promise<readonly ExportedPartition[]> {
  const { partitions } = await readPartitions(device)
  return partitions.map((partition) => ({
    ...partition,
    exportName: `p${partition.number}`,
    device: sliced(device, partition.offset, partition.sizeBytes),
  }))
}

/**
 * The partition to mount: the one that was asked for; else the only one with a file system of Linux, or the largest.
 *
 * @returns undefined for a disk without partitions, which is mounted as a whole
 * @throws {DiskError} MOUNT_NO_PARTITION, MOUNT_NO_FILESYSTEM, MOUNT_AMBIGUOUS
 */
export async function chooseMount(
  partitions: readonly ExportedPartition[],
  wanted: number | undefined,
): Promise<ExportedPartition | undefined> {
  if (wanted !== undefined) return named(partitions, wanted)
  if (partitions.length === 0) return undefined
  const all = await Promise.all(
    partitions.map(async (partition) => ({
      partition,
      type: (await probeFileSystem(partition.device))?.type,
    })),
  )
  const candidates = all
    .filter(({ type }) => type !== undefined && linuxTypes.has(type))
    .toSorted((a, b) => Number(b.partition.sizeBytes - a.partition.sizeBytes))
  const [largest, next] = candidates
  if (largest === undefined) {
    throw new DiskError(
      'MOUNT_NO_FILESYSTEM',
      `expected a file system of Linux, found none among the partitions ${numbersOf(partitions)}`,
      { remedy: 'Name the partition with --partition, or attach the disk without mounting it.' },
    )
  }
  if (next?.partition.sizeBytes !== largest.partition.sizeBytes) return largest.partition
  const list = candidates.map(
    ({ partition: { number, sizeBytes }, type }) => `${number} (${type}, ${sizeBytes} bytes)`,
  )
  throw new DiskError('MOUNT_AMBIGUOUS', `several partitions could be meant: ${list.join(', ')}`, {
    remedy: 'Name one with --partition.',
  })
}

function named(partitions: readonly ExportedPartition[], wanted: number): ExportedPartition {
  const found = partitions.find(({ number }) => number === wanted)
  if (found) return found
  const there = partitions.length === 0 ? 'it has none' : `it has ${numbersOf(partitions)}`
  throw new DiskError('MOUNT_NO_PARTITION', `expected partition ${wanted} on the disk, ${there}`, {
    remedy: 'Name a partition that the disk has.',
  })
}

function numbersOf(partitions: readonly ExportedPartition[]): string {
  return partitions.map(({ number }) => number).join(', ')
}
