import type { Obligations } from '#core/trust/words.ts'

/**
 * A lease: the time-limited right of one endpoint to hold data of one session (I8).
 *
 *     offered ──▶ held ──▶ ended
 *        │         │         ▲
 *        └────▶ withdrawn ───┘
 *
 * `offered`: the key was released, the endpoint has not said yet that it has it. `withdrawn`: the site has taken the right back and
 * the endpoint has not confirmed it. `ended`: the endpoint has said that its key is gone, or the time has passed after which
 * it must have stopped by its own clock.
 */
export const leaseStates = ['offered', 'held', 'withdrawn', 'ended'] as const
export type LeaseState = (typeof leaseStates)[number]

/** States in which the endpoint may still be able to read. */
export const openLeaseStates = ['offered', 'held', 'withdrawn'] as const satisfies readonly LeaseState[]

/** What one endpoint may have open at once. All of it travels in one message: what an endpoint cannot be told, it cannot lose either. */
export const maxOpenLeases = 100

/** How long a virtual machine whose key was taken back because trust was lost may stand still in its endpoint's memory. */
export const pausedGraceMs: number = 10 * 60_000
/** For how long the site goes by what an endpoint said last of one: its grace, and a report that was on its way. */
const pausedMemoryMs = pausedGraceMs + 60_000

/** @returns since when an endpoint must have said that one stands still in memory, for that to count. Unix ms, as `now` */
export function pausedSince(now: number): number {
  return now - pausedMemoryMs
}

/**
 * Until when an endpoint may go on without another word of the site.
 *
 * @param now Unix time, ms
 * @param sessionEndsAt Unix time, ms: no lease outlives its session
 * @returns Unix time, ms
 */
export function leaseUntil(
  now: number,
  { leaseMinutes }: Pick<Obligations, 'leaseMinutes'>,
  sessionEndsAt: number,
): number {
  return Math.min(now + leaseMinutes * 60_000, sessionEndsAt)
}

/**
 * Whether a lease is worth prolonging: when a third of its length has passed, so that a word or two may be lost, or when the policy
 * has made it shorter.
 *
 * @param expiresAt what holds now
 * @param until what `leaseUntil` says now
 */
export function isRenewalDue(
  now: number,
  expiresAt: number,
  until: number,
  { leaseMinutes }: Pick<Obligations, 'leaseMinutes'>,
): boolean {
  if (until < expiresAt) return true
  return until > expiresAt && expiresAt - now < (leaseMinutes * 60_000 * 2) / 3
}
