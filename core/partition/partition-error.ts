import { CodedError } from '#core/errors/coded-error.ts'

export type PartitionErrorCode =
  /** It says that it is a partition table, and neither it nor its backup is whole. */
  | 'PARTITION_TABLE_CORRUPT'
  /** A partition, or a part of the table, is not inside the disk. */
  | 'PARTITION_OUTSIDE'
  /** The chain of logical partitions comes back to where it was. */
  | 'PARTITION_CHAIN_CYCLIC'
  /** More partitions than this reader takes. */
  | 'PARTITION_TOO_MANY'

/** What is wrong with a partition table. */
export class PartitionError extends CodedError<PartitionErrorCode> {
  protected static override readonly remedies: Readonly<Record<PartitionErrorCode, string>> = {
    PARTITION_TABLE_CORRUPT: 'Repair the partition table, with `sgdisk --verify` or fdisk for instance.',
    PARTITION_OUTSIDE:
      'Make the disk as large as it was when it was partitioned, or repair its partition table.',
    PARTITION_CHAIN_CYCLIC: 'Repair the partition table, with `sgdisk --verify` or fdisk for instance.',
    PARTITION_TOO_MANY: 'Use fewer partitions, or a table with fewer entries.',
  }
}
