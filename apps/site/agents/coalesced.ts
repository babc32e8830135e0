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
  const stopped = new AbortController()
  let isRunning = false
  let isAsked = false
  const run = async (): Promise<void> => {
    isRunning = true
    while (isAsked && !stopped.signal.aborted) {
      isAsked = false
      try {
        await work()
      } catch (error) {
        isAsked = true
        failed(error)
        await sleep(retryMs, undefined, { signal: stopped.signal }).catch(() => undefined)
      }
    }
    isRunning = false
  }
  return {
    ask: () => {
      isAsked = true
      if (!isRunning) void run()
    },
    stop: () => stopped.abort(),
  }
}
