/** Time as the channel sees it. */
export interface Scheduler {
  /** Milliseconds from any fixed point, never going back. */
  now(): number
  /** Runs once after so many milliseconds; returns what cancels it. */
  after(ms: number, run: () => void): () => void
}

/** The machine's own clock. */
export const systemScheduler: Scheduler = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
}
