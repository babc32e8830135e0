import { z } from 'zod'

/** What a disk has done since it was attached. */
export interface DiskStats {
  readonly sizeBytes: number
  /** From stores, as they were sent. */
  readonly bytesFetched: number
  /** Read from the cache on this machine. */
  readonly bytesFromCache: number
  /** To stores. */
  readonly requests: number
  /** Chunks that the cache on this machine had, and had not; what was in memory, unpacked, asked neither. */
  readonly hits: number
  readonly misses: number
  /** What was not what was signed, in the cache or from a store, and was fetched again or refused. */
  readonly damaged: number
  /** Into the overlay. */
  readonly bytesWritten?: number
  /** How much of the image the cache holds, as far as it was looked at. */
  readonly percentLocal?: number
  /** The copy in the data centre of what is written, where there is to be one. */
  readonly replica?: ReplicaStats
}

export interface ReplicaStats {
  /** When it was last as the disk was; ISO 8601. */
  readonly copiedAt?: string
  /** What has changed since, at most. */
  readonly waitingBytes: number
  /** Why nothing more is sent. */
  readonly stopped?: string
}

const count = z.number().nonnegative()

export const replicaStats: z.ZodType<ReplicaStats> = z.strictObject({
  copiedAt: z.iso.datetime().exactOptional(),
  waitingBytes: count,
  stopped: z.string().exactOptional(),
})

export const diskStats: z.ZodType<DiskStats> = z.strictObject({
  sizeBytes: count,
  bytesFetched: count,
  bytesFromCache: count,
  requests: count,
  hits: count,
  misses: count,
  damaged: count,
  bytesWritten: count.exactOptional(),
  percentLocal: z.number().min(0).max(100).exactOptional(),
  replica: replicaStats.exactOptional(),
})
