/** At once, and then at a steady rate. */
export interface PaceLimits {
  readonly burst: number
  readonly perSecond: number
}

/**
 * Slows a loop that somebody else can drive.
 *
 * @param now ms from any fixed point, never going back
 * @returns each call is one step taken; it says how long to wait before it, ms
 */
export function createPace({ burst, perSecond }: PaceLimits, now: () => number): () => number {
  let left = burst
  let at = now()
  return () => {
    const present = now()
    left = Math.min(burst, left + ((present - at) / 1000) * perSecond) - 1
    at = present
    return left >= 0 ? 0 : (-left / perSecond) * 1000
  }
}
