import { PartitionError } from './partition-error.ts'

/** A part of a disk. All in bytes. */
export interface Partition {
  /** As the system counts them: logical ones of an MBR from 5 on. */
  readonly number: number
  readonly offset: bigint
  readonly sizeBytes: bigint
  /** MBR: two hexadecimal digits; GPT: a GUID in lower case with hyphens. */
  readonly type: string
  /** GPT only; absent when it is empty. */
  readonly name?: string
}

export interface PartitionTable {
  readonly scheme: 'gpt' | 'mbr' | 'none'
  /** In the order of their numbers. */
  readonly partitions: readonly Partition[]
}

/** Most partitions that are read. */
export const mostPartitions = 1024

/** @throws {PartitionError} PARTITION_OUTSIDE */
export function requireInside(sizeBytes: bigint, what: string, offset: bigint, length: bigint): void {
  if (offset < 0n || length < 0n || offset + length > sizeBytes) {
    throw new PartitionError(
      'PARTITION_OUTSIDE',
      `expected ${what} inside ${sizeBytes} bytes, got ${length} bytes at ${offset}`,
    )
  }
}
