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
export class PartitionError extends CodedError<PartitionErrorCode> {}
