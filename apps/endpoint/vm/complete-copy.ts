import { setTimeout as sleep } from 'node:timers/promises'
import type { ImageCopy } from '../disk/open-disk.ts'

/** How far the copy of an image on this machine has come. */
export interface CopyProgress {
  /** Of the disk: bytes that were looked at, holes among them. */
  readonly doneBytes: number
  readonly sizeBytes: number
  /** All of it is on this machine, also when its power fails: it works without its stores. */
  readonly isComplete: boolean
}

export interface CompleteCopyOptions {
  readonly copy: ImageCopy
  readonly sizeBytes: number
  /** Bytes from stores so far. */
  readonly fetched: () => number
  /** How much of the image is here, 0 to 100, as far as it was looked at. */
  readonly percentLocal: () => number
  /** Bytes a second from stores for this alone; absent: what is left beside what is read. */
  readonly bytesPerSecond?: number | undefined
  readonly onProgress: (progress: CopyProgress) => void
  readonly signal: AbortSignal
}

const stepBytes = 4_194_304
/** A limit is kept over so much time: what is fetched at once is no more. */
const limitedStepMs = 250
const leastStepBytes = 65_536
const lookAheadBytes = 33_554_432
/** The cache takes no more than twice as much at once. */
const mostPendingBytes = 16_777_216
const pauseMs = 10_000
/** A device that is full seldom has room again soon, and each look costs what is fetched for it. */
const fullPauseMs = 120_000

/**
 * Has all of an image kept on this machine, behind what is read. What is there already is verified and not fetched: so
 * it goes on after a restart. Ends when all is there, or with the signal; while stores are away, or the device is full, it tries again.
 */
export async function completeCopy(options: CompleteCopyOptions): Promise<void> {
  const { copy, percentLocal, onProgress, sizeBytes, signal } = options
  try {
    for (;;) {
      const refused = copy.refused()
      if (!(await goThrough(options, refused))) {
        await sleep(fullPauseMs, undefined, { signal })
        continue
      }
      // What was fetched last is still being written: where that fails it is not here, and power may fail at any time.
      const isComplete = percentLocal() === 100 && (await copy.sync()) && copy.refused() === refused
      onProgress({ doneBytes: sizeBytes, sizeBytes, isComplete })
      if (isComplete) return
      await sleep(pauseMs, undefined, { signal })
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** @returns false when it ended early: nothing can be kept, and what is fetched from here on would be fetched in vain */
async function goThrough(options: CompleteCopyOptions, refused: number): Promise<boolean> {
  const { copy, sizeBytes, fetched, bytesPerSecond, onProgress, signal } = options
  const step =
    bytesPerSecond === undefined
      ? stepBytes
      : Math.min(stepBytes, Math.max(leastStepBytes, Math.floor((bytesPerSecond * limitedStepMs) / 1000)))
  for (let at = 0; at < sizeBytes; ) {
    const length = Math.min(lookAheadBytes, sizeBytes - at)
    for (const extent of await copy.extents(BigInt(at), length, signal)) {
      const end = at + extent.length
      for (; extent.kind === 'data' && at < end; at += step) {
        const [began, before] = [performance.now(), fetched()]
        await copy.keep(at, Math.min(step, end - at))
        signal.throwIfAborted()
        const tookMs = performance.now() - began
        const dueMs = bytesPerSecond === undefined ? 0 : ((fetched() - before) / bytesPerSecond) * 1000
        // Also without a limit: who reads goes first.
        await sleep(Math.max(0, dueMs - tookMs), undefined, { signal })
        while (copy.pendingBytes() > mostPendingBytes) await sleep(20, undefined, { signal })
        if (copy.isFailing() && copy.refused() > refused) return false
        onProgress({ doneBytes: Math.min(at + step, end), sizeBytes, isComplete: false })
      }
      at = end
    }
  }
  return true
}
