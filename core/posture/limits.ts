/** From when on a fact counts as bad. */
export interface PostureLimits {
  /** Security updates may wait so long. */
  readonly updateGraceDays: number
  /** So long nobody need have looked for updates. */
  readonly listsMaxAgeDays: number
  /** Antivirus signatures may be so old. */
  readonly signatureMaxAgeDays: number
  /** A screen must lock after so many seconds without input. */
  readonly lockAfterSec: number
}

export const defaultLimits: PostureLimits = {
  updateGraceDays: 14,
  listsMaxAgeDays: 7,
  signatureMaxAgeDays: 7,
  lockAfterSec: 900,
}

const dayMs = 86_400_000

/** @returns whole days between two Unix times in ms; 0 when the first lies ahead */
export function daysBetween(from: number, to: number): number {
  return Math.max(0, Math.floor((to - from) / dayMs))
}

/** `1 day`, `3 days`. */
export function days(count: number): string {
  return count === 1 ? '1 day' : `${count} days`
}
