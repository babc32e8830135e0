/** The granularity of an overlay. */
export const slotBytes = 4096

/** Some neighbouring blocks of which the same is kept. */
export interface SlotRun {
  readonly count: number
  /** `absent`: nothing, the base counts; `zero`: that it is zeros; `data`: its bytes. */
  readonly kind: 'absent' | 'zero' | 'data'
}

/**
 * Where an overlay keeps the blocks of 4 KiB that differ from its base. Blocks are counted from the start of the disk.
 *
 * Lifetime: who made it disposes of it, which an overlay does for its own. Disposing twice is harmless.
 * Concurrency: any number of calls at once, but at most one of `write` and `zero` for a block. A read begun before the
 * end of a write of the same block sees its old or its new bytes. A block is never absent again.
 */
export interface SlotStore extends AsyncDisposable {
  /** Whether what was flushed outlives the process. */
  readonly isKept: boolean

  /** What is kept of `block` and those after it, at most `most` of them, by what has been answered so far. */
  run(block: number, most: number): SlotRun

  /**
   * Reads blocks of which `run` has just said, with nothing awaited since, that they are data.
   *
   * @returns memory of the caller's own
   * @throws {OverlayError} OVERLAY_CORRUPT
   */
  read(block: number, count: number): Promise<Uint8Array>

  /**
   * Keeps whole blocks. Takes the bytes before it answers.
   *
   * INVARIANT: what was answered can be read, and flushed, without further room.
   *
   * @throws {OverlayError} OVERLAY_FULL: each of the blocks is as it was, or new
   */
  write(block: number, bytes: Uint8Array): Promise<void>

  /** Keeps that blocks are zeros, and gives back their room. @throws {OverlayError} OVERLAY_FULL */
  zero(block: number, count: number): Promise<void>

  /** What was answered before is durable, if anything of the store is. */
  flush(): Promise<void>
}
