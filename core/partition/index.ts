export type { Partition, PartitionTable } from './partition.ts'
export { type FileSystem, probeFileSystem } from './probe-file-system.ts'
export { readPartitions } from './read-partitions.ts'
