export type { Partition, PartitionTable } from './partition.ts'
export { PartitionError, type PartitionErrorCode } from './partition-error.ts'
export { type FileSystem, probeFileSystem } from './probe-file-system.ts'
export { readPartitions } from './read-partitions.ts'
