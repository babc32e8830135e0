import { diffImages, type ImageDiff, type OpenedImage } from '#core/artifact/index.ts'
import { type Partition, readPartitions } from '#core/partition/index.ts'
import { table } from '../../command.ts'
import { sizeText } from './store-options.ts'

export interface PartitionChange {
  readonly number: number
  readonly type: string
  /** Bytes from the start of the disk. */
  readonly offset: number
  readonly sizeBytes: number
  readonly changedBytes: number
}

/** What one version of an image changes of another. */
export interface ImageChanges {
  readonly diff: ImageDiff
  readonly scheme: string
  /** Of the newer version. */
  readonly partitions: readonly PartitionChange[]
}

/** Compares two versions, partition by partition. @throws {ArtifactError} {BlobError} {PartitionError} */
export async function changesBetween(older: OpenedImage, newer: OpenedImage): Promise<ImageChanges> {
  const diff = await diffImages(older, newer)
  const { scheme, partitions } = await readPartitions(newer.device)
  return {
    diff,
    scheme,
    partitions: partitions.map((partition) => ({
      ...describe(partition),
      changedBytes: changedIn(diff, partition),
    })),
  }
}

/** @returns lines for people */
export function changesText({ diff, partitions }: ImageChanges): readonly string[] {
  const rows = partitions.map(({ number, type, sizeBytes, changedBytes }) => [
    String(number),
    type,
    sizeText(sizeBytes),
    sizeText(changedBytes),
  ])
  return [
    `${sizeText(diff.changedBytes)} changed, ${sizeText(diff.clearedBytes)} cleared, ${sizeText(diff.sameBytes)} the same`,
    `${sizeText(diff.changedStoredBytes)} stored for what changed`,
    ...(rows.length === 0 ? [] : table(['partition', 'type', 'size', 'changed'], rows).split('\n')),
  ]
}

function describe({ number, type, sizeBytes, offset, name }: Partition) {
  return {
    number,
    type: name === undefined ? type : `${type} (${name})`,
    offset: Number(offset),
    sizeBytes: Number(sizeBytes),
  }
}

function changedIn({ ranges }: ImageDiff, { offset, sizeBytes }: Partition): number {
  const [start, end] = [Number(offset), Number(offset) + Number(sizeBytes)]
  return ranges.reduce((sum, range) => {
    const overlap = Math.min(end, range.offset + range.length) - Math.max(start, range.offset)
    return sum + Math.max(0, overlap)
  }, 0)
}
