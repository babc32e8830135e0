import { createHash } from 'node:crypto'
import { parseAddress } from '#core/trust/index.ts'

/**
 * Slows guessing of passwords without giving a stranger a way to lock somebody out.
 *
 * | failures are counted per        | for attempts from      | free | then at most |
 * |---------------------------------|------------------------|------|--------------|
 * | account and source (`known`)    | a source known to it   |    5 | 60 s         |
 * | account and source (`stranger`) | anywhere else          |    3 | 15 min       |
 * | source (`source`)               | anywhere else          |   50 | 10 s         |
 *
 * Beyond the free ones each failure doubles the delay. INVARIANT: no counter is shared between two sources, and an
 * attempt from a source where the account has signed in before looks at nothing that others can count up from elsewhere.
 */

/** One attempt to sign in. */
export interface SignInAttempt {
  /** The account's login in the form it is looked up by; accounts that do not exist count alike. */
  readonly account: string
  /** From `sourceOf`. */
  readonly source: string
  /** The account has signed in from this source before. */
  readonly isKnownSource: boolean
}

/** What is stored for each key. */
export interface Failures {
  readonly failures: number
  /** Milliseconds since 1970. */
  readonly lastAt: number
}

export type Throttle = { readonly allowed: true } | { readonly allowed: false; readonly retryAfterMs: number }

/** Which stored counters belong to an attempt. */
export interface ThrottleKeys {
  /** Read and, when the attempt is let through, counted up in one step, before the password is checked: so parallel guesses count. */
  readonly counted: readonly string[]
  /** Removed after the right password. */
  readonly cleared: readonly string[]
  /**
   * Counted down by one after the right password: the source's own counter. Many people may sign in from behind one address; but what failed
   * there stays, an account of one's own must not reset it.
   */
  readonly returned: readonly string[]
}

/** After so long without a failure a stored counter means nothing any more and can be deleted. */
export const forgetFailuresMs = 86_400_000

/**
 * The part of an address that one party holds: a whole IPv4 address, the /64 of an IPv6 address.
 *
 * @throws {AddressError} ADDRESS_MALFORMED
 */
export function sourceOf(address: string): string {
  const { family, bits } = parseAddress(address)
  return family === 4
    ? `4-${bits.toString(16).padStart(8, '0')}`
    : `6-${(bits >> 64n).toString(16).padStart(16, '0')}`
}

/** The counters of an attempt; logins are hashed, so that keys have a bounded length and hold no names. */
export function throttleKeys(attempt: SignInAttempt): ThrottleKeys {
  const rules = rulesOf(attempt)
  return {
    counted: rules.map(({ key }) => key),
    cleared: rules.filter(({ limit }) => limit !== limits.source).map(({ key }) => key),
    returned: rules.filter(({ limit }) => limit === limits.source).map(({ key }) => key),
  }
}

/**
 * Whether the attempt may go on to the password. A refused attempt is not counted: else asking would lengthen the wait.
 *
 * @param stored the counters by key; missing ones have counted nothing
 * @param now milliseconds since 1970
 */
export function throttle(
  attempt: SignInAttempt,
  stored: ReadonlyMap<string, Failures>,
  now: number,
): Throttle {
  const waits = rulesOf(attempt).map(({ key, limit }) => waitMs(limit, stored.get(key), now))
  const retryAfterMs = Math.max(...waits)
  return retryAfterMs > 0 ? { allowed: false, retryAfterMs } : { allowed: true }
}

interface Limit {
  readonly free: number
  readonly firstMs: number
  readonly longestMs: number
}

const limits: Readonly<Record<'known' | 'stranger' | 'source', Limit>> = {
  known: { free: 5, firstMs: 1_000, longestMs: 60_000 },
  stranger: { free: 3, firstMs: 1_000, longestMs: 900_000 },
  source: { free: 50, firstMs: 1_000, longestMs: 10_000 },
}

function rulesOf({
  account,
  source,
  isKnownSource,
}: SignInAttempt): readonly { key: string; limit: Limit }[] {
  const name = createHash('sha256').update(account).digest('base64url')
  if (isKnownSource) return [{ key: `known:${name}:${source}`, limit: limits.known }]
  return [
    { key: `stranger:${name}:${source}`, limit: limits.stranger },
    { key: `source:${source}`, limit: limits.source },
  ]
}

function waitMs(limit: Limit, stored: Failures | undefined, now: number): number {
  if (stored === undefined || stored.failures <= limit.free) return 0
  const delay = Math.min(limit.longestMs, limit.firstMs * 2 ** (stored.failures - limit.free - 1))
  // A clock that was set back must not lock anybody out: never more than the delay itself.
  return Math.max(0, Math.min(delay, stored.lastAt + delay - now))
}
