import type { ByteSource } from '#core/block/block-device.ts'
import { readGpt } from './gpt.ts'
import { decodeMbr, isProtective, mbrBytes, readMbr } from './mbr.ts'
import type { PartitionTable } from './partition.ts'

/**
 * Finds the partitions of a disk, reading only its table. Without a table the scheme is `none`: the disk is empty or one
 * file system.
 *
 * @throws {PartitionError} what the disk says of itself cannot be; {BlockError} and others of the source
 */
export async function readPartitions(source: ByteSource, signal?: AbortSignal): Promise<PartitionTable> {
  const first = source.sizeBytes < mbrBytes ? new Uint8Array(0) : await source.read(0n, mbrBytes, signal)
  const entries = decodeMbr(first)
  if (entries === undefined) return { scheme: 'none', partitions: [] }
  const gpt = isProtective(entries) ? await readGpt(source, signal) : undefined
  return gpt
    ? { scheme: 'gpt', partitions: gpt }
    : { scheme: 'mbr', partitions: await readMbr(source, entries, signal) }
}
