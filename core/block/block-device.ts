import { CodedError } from '#core/errors/coded-error.ts'

export type BlockErrorCode =
  /** The range is not inside the device. */
  | 'BLOCK_OUT_OF_RANGE'
  /** The device was disposed of. */
  | 'BLOCK_CLOSED'

export class BlockError extends CodedError<BlockErrorCode> {}

/**
 * Bytes that can be read anywhere: a file, an object behind HTTP ranges, a buffer. What the disk path reads from.
 *
 * Lifetime: whoever is given a source to keep disposes of it. Disposing twice is harmless; reads after it fail.
 * Concurrency: any number of reads at once, which may finish in any order.
 */
export interface ByteSource extends AsyncDisposable {
  /** Fixed while the source is open. */
  readonly sizeBytes: bigint

  /**
   * Reads exactly `length` bytes at any `offset`: no alignment is asked for, and it is never short.
   *
   * The result may be a view of memory that others read, too: nobody alters it. It stays what it is for as long as it
   * is held.
   *
   * @throws {BlockError} BLOCK_OUT_OF_RANGE; whatever the source itself meets; the reason of `signal`
   */
  read(offset: bigint, length: number, signal?: AbortSignal): Promise<Uint8Array>

  /**
   * As `read`, when the bytes are in memory: what need not be waited for costs no promise.
   *
   * @param offset below 2^53
   * @returns undefined when they have to be read, and where a read would fail
   */
  readNow?(offset: number, length: number): Uint8Array | undefined

  /**
   * Whoever has no more use for bytes that a read gave them may say so, once for each read: then their memory is used
   * again at once, and not when the collector has found out. Bytes that are not of this device are passed over.
   */
  done?(bytes: Uint8Array): void
}

/** A part of a device, from where the one before it ended. */
export interface Extent {
  readonly length: number
  /**
   * What a read would find: `data`, perhaps zeros; `zero`, surely zeros and kept as such; `hole`, surely zeros and
   * nothing is stored.
   */
  readonly kind: 'data' | 'zero' | 'hole'
}

/**
 * A disk. Its wrappers (verified, cached, overlay, traced, prefetched) are disks, too, and own the one they wrap.
 *
 * Requests: made for 64 KiB to 32 MiB; callers split larger ones. All offsets and lengths are in bytes and need no
 * alignment.
 * Concurrency: any number of requests at once. Those that overlap with a write that has not been answered see old or
 * new bytes; a request begun after the answer sees the new ones.
 * Writing: a device without `write` is read-only. One with it has the three others as well.
 * Errors: a range beyond the end is BLOCK_OUT_OF_RANGE and nothing is done; other errors are those of the layer that
 * failed, with its code. A failed read has no effect on later ones; a failed write leaves its range undefined.
 */
export interface BlockDevice extends ByteSource {
  /**
   * A power of two. Reads inside one aligned block of this size are answered without copying where the device can;
   * larger ones may have to be put together.
   */
  readonly blockSize: number

  /**
   * What the range consists of, in order: the lengths add up to `length` and neighbours differ. Reads no data and may
   * call things `data` that it could find out to be zeros only by reading.
   *
   * @throws {BlockError} BLOCK_OUT_OF_RANGE
   */
  extents(offset: bigint, length: number, signal?: AbortSignal): Promise<readonly Extent[]>

  /** Takes the bytes before it answers: the caller may reuse its memory then. Durable only after `flush`. */
  write?(offset: bigint, bytes: Uint8Array, signal?: AbortSignal): Promise<void>

  /** Everything that was answered before this call survives the loss of power. */
  flush?(signal?: AbortSignal): Promise<void>

  /** The range is no longer needed: it may be forgotten, and reads as old bytes or zeros. */
  trim?(offset: bigint, length: number, signal?: AbortSignal): Promise<void>

  /** As a write of zeros, without the bytes. */
  writeZeroes?(offset: bigint, length: number, signal?: AbortSignal): Promise<void>
}

/** Says that a range must be inside a device. @throws {BlockError} BLOCK_OUT_OF_RANGE */
export function requireRange(sizeBytes: bigint, offset: bigint, length: number): void {
  const isRange = Number.isSafeInteger(length) && length >= 0 && offset >= 0n
  if (!isRange || offset + BigInt(length) > sizeBytes) {
    throw new BlockError(
      'BLOCK_OUT_OF_RANGE',
      `expected a range inside ${sizeBytes} bytes, got ${length} bytes at ${offset}`,
    )
  }
}
