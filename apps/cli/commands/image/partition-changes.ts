import { diffImages, type ImageDiff, type OpenedImage } from '#core/artifact/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { compareFiles, type FileChange, listFiles } from '#core/filesystem/index.ts'
import { type Partition, readPartitions } from '#core/partition/index.ts'
import { table } from '../../command.ts'
import { printable } from '../../printable.ts'
import { sizeText } from './store-options.ts'

export interface PartitionChange {
  readonly number: number
  readonly type: string
  /** Bytes from the start of the disk. */
  readonly offset: number
  readonly sizeBytes: number
  readonly changedBytes: number
  /** What became of its files; where they cannot be listed, why. */
  readonly files: readonly FileChange[] | { readonly unreadable: string }
}

/** What one version of an image changes of another. */
export interface ImageChanges {
  readonly diff: ImageDiff
  readonly scheme: string
  /** Of the newer version. */
  readonly partitions: readonly PartitionChange[]
  /** What lies in none of them: boot code, the table itself, and what boot loaders keep between. */
  readonly outside: Pick<PartitionChange, 'sizeBytes' | 'changedBytes'>
  /** Those of the older version that are not there any more, or not as they were. */
  readonly before: readonly Omit<PartitionChange, 'changedBytes' | 'files'>[]
}

/**
 * Compares two versions, partition by partition, and file by file where both have a file system that can be read.
 *
 * @throws {ArtifactError} {BlobError} {PartitionError}; the reason of `signal`
 */
export async function changesBetween(
  older: OpenedImage,
  newer: OpenedImage,
  signal?: AbortSignal,
): Promise<ImageChanges> {
  const diff = await diffImages(older, newer, undefined, signal)
  const { scheme, partitions } = await readPartitions(newer.device, signal)
  const { sizeBytes } = newer.device
  // A disk without a table may be one file system.
  const whole: Partition = { number: 0, type: 'whole disk', offset: 0n, sizeBytes }
  const described: PartitionChange[] = []
  for (const partition of scheme === 'none' ? [whole] : partitions) {
    const changedBytes = changedIn(diff, partition)
    const isSame = changedBytes === 0 && !diff.isCut
    const files = isSame ? [] : await fileChanges(older, newer, diff, partition, signal)
    described.push({ ...describe(partition), changedBytes, files })
  }
  const gaps = scheme === 'none' ? [] : gapsBetween(partitions, sizeBytes)
  const old = (await readPartitions(older.device, signal)).partitions
  return {
    diff,
    scheme,
    partitions: described,
    outside: {
      sizeBytes: gaps.reduce((sum, gap) => sum + Number(gap.sizeBytes), 0),
      changedBytes: gaps.reduce((sum, gap) => sum + changedIn(diff, gap), 0),
    },
    before: old.filter((one) => !partitions.some((other) => isSamePlace(one, other))).map(describe),
  }
}

type Place = Pick<Partition, 'offset' | 'sizeBytes'>

function gapsBetween(partitions: readonly Place[], sizeBytes: bigint): readonly Place[] {
  const gaps: Place[] = []
  let end = 0n
  const last = { offset: sizeBytes, sizeBytes: 0n }
  for (const { offset, sizeBytes } of partitions
    .toSorted((a, b) => Number(a.offset - b.offset))
    .concat(last)) {
    if (offset > end) gaps.push({ offset: end, sizeBytes: offset - end })
    // An extended partition holds others.
    if (offset + sizeBytes > end) end = offset + sizeBytes
  }
  return gaps
}

function isSamePlace(a: Partition, b: Partition): boolean {
  return a.number === b.number && a.type === b.type && a.offset === b.offset && a.sizeBytes === b.sizeBytes
}

async function fileChanges(
  older: OpenedImage,
  newer: OpenedImage,
  diff: ImageDiff,
  partition: Partition,
  signal: AbortSignal | undefined,
): Promise<PartitionChange['files']> {
  try {
    const before = await listFiles(older.device, partition, signal)
    const now = await listFiles(newer.device, partition, signal)
    const start = Number(partition.offset)
    const isSame = (offset: number, length: number): boolean =>
      !diff.isCut && !isTouched(diff.ranges, start + offset, length)
    return await compareFiles(before, now, isSame, signal)
  } catch (error) {
    if (isCoded(error)) return { unreadable: error.message }
    throw error
  }
}

/** @param ranges in order, without overlap */
function isTouched(ranges: ImageDiff['ranges'], offset: number, length: number): boolean {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const range = ranges[middle]
    if (range !== undefined && range.offset + range.length <= offset) low = middle + 1
    else high = middle
  }
  const next = ranges[low]
  return next !== undefined && next.offset < offset + length
}

/** @returns lines for people; of files the first `shownFiles` of each partition */
export function changesText({ diff, partitions, outside, before }: ImageChanges): readonly string[] {
  const outsides =
    outside.sizeBytes === 0
      ? []
      : [['', 'outside partitions', sizeText(outside.sizeBytes), sizeText(outside.changedBytes)]]
  const rows = partitions.map(({ number, type, sizeBytes, changedBytes }) => [
    number === 0 ? '' : String(number),
    printable(type),
    sizeText(sizeBytes),
    sizeText(changedBytes),
  ])
  return [
    `${sizeText(diff.changedBytes)} changed, ${sizeText(diff.clearedBytes)} cleared, ${sizeText(diff.sameBytes)} the same`,
    `${sizeText(diff.changedStoredBytes)} stored for what changed`,
    ...table(['partition', 'type', 'size', 'changed'], [...rows, ...outsides]).split('\n'),
    ...before.map((one) => {
      const isGone = !partitions.some(({ number }) => number === one.number)
      return `partition ${one.number} ${isGone ? 'is gone' : 'is another'}: it was ${printable(one.type)}, ${sizeText(one.sizeBytes)} at ${one.offset}`
    }),
    ...partitions.flatMap(fileLines),
  ]
}

const shownFiles = 60
const marks = { added: '+', removed: '-', changed: '~' } as const

function fileLines({ number, files, changedBytes }: PartitionChange): readonly string[] {
  const where = number === 0 ? 'files' : `files of partition ${number}`
  if ('unreadable' in files) return [`${where}: ${printable(files.unreadable)}`]
  if (changedBytes === 0 && files.length === 0) return []
  const count = (change: FileChange['change']): number =>
    files.filter((file) => file.change === change).length
  // What lets a program do more than who starts it is what a signer looks for first.
  const shown = files
    .toSorted((a, b) => Number(isPrivileged(b)) - Number(isPrivileged(a)))
    .slice(0, shownFiles)
    .map((file) => `  ${marks[file.change]} ${printable(file.path)}${describeFile(file)}`)
  const left = files.length - shown.length
  return [
    `${where}: ${count('added')} added, ${count('changed')} changed, ${count('removed')} removed`,
    ...shown,
    ...(left === 0 ? [] : [`  and ${left} more, all of them with: trustcast image diff OLDER NEWER --json`]),
  ]
}

function describeFile(file: FileChange): string {
  const { change, what, mode, sizeBytes, capabilities } = file
  const mentioned = [
    ...(change === 'changed' && what.join() !== 'content' ? [what.join(', ')] : []),
    ...(isSetId(file) ? [`runs as its owner: ${(mode & 0o7777).toString(8)}`] : []),
    ...(capabilities.length === 0 ? [] : [`runs with ${capabilities.join(', ')}`]),
  ]
  const size = change === 'removed' ? '' : `  ${sizeText(sizeBytes)}`
  return `${size}${mentioned.length === 0 ? '' : `  (${mentioned.join('; ')})`}`
}

function isPrivileged(file: FileChange): boolean {
  return isSetId(file) || file.capabilities.length > 0
}

function isSetId({ mode }: FileChange): boolean {
  return (mode & 0xf000) === 0x8000 && (mode & 0o6000) !== 0
}

function describe({ number, type, sizeBytes, offset, name }: Partition) {
  return {
    number,
    type: name === undefined ? type : `${type} (${name})`,
    offset: Number(offset),
    sizeBytes: Number(sizeBytes),
  }
}

function changedIn({ ranges }: ImageDiff, { offset, sizeBytes }: Place): number {
  const [start, end] = [Number(offset), Number(offset) + Number(sizeBytes)]
  return ranges.reduce((sum, range) => {
    const overlap = Math.min(end, range.offset + range.length) - Math.max(start, range.offset)
    return sum + Math.max(0, overlap)
  }, 0)
}
