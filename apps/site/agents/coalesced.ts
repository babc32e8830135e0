import { setTimeout as sleep } from 'node:timers/promises'

/** Work that is asked for often and whose last run is all that counts. */
export interface Coalesced {
  readonly ask: () => void
  /** Nothing runs or is tried again after what runs now. */
  readonly stop: () => void
}

/**
 * Runs `work` once at a time; what is asked meanwhile makes it run once more. Work that fails is tried again until it succeeds:
 * nobody may ask a second time.
 *
 * @param failed told of each failure
 */
export function coalesced(
  work: () => Promise<void>,
  failed: (error: unknown) => void,
  retryMs = 1_000,
): Coalesced {
  let isStopped = false
  let isRunning = false
  let isAsked = false
  const run = async (): Promise<void> => {
    isRunning = true
    while (isAsked && !isStopped) {
      isAsked = false
      try {
        await work()
      } catch (error) {
        isAsked = true
        failed(error)
        await sleep(retryMs, undefined, { ref: false })
      }
    }
    isRunning = false
  }
  return {
    ask: () => {
      isAsked = true
      if (!isRunning) void run()
    },
    stop: () => {
      isStopped = true
    },
  }
}
