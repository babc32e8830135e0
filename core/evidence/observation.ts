import { type ClaimName, rankOf, unknownValue } from '#core/trust/index.ts'

/**
 * One thing that a program on an endpoint saw there. It is what the endpoint says of itself: it can lower trust and never raises it (I5).
 * All of it is sent, and nothing else: the person can read it before.
 */
export interface Observation {
  /** What it is about. */
  readonly claim: ClaimName
  /** A value of the claim's vocabulary; `unknown` when the collector could not tell. */
  readonly value: string
  /** Who saw it: `clamd`, `apt`, `nft`. */
  readonly collector: string
  /** What was seen, for people, without anything private: at most 300 characters. */
  readonly detail: string
}

/** Why the claims of a collector are unknown although it should have looked; stands at the front of their detail. */
const collectorFailures = ['COLLECTOR_TIMED_OUT', 'COLLECTOR_CRASHED', 'COLLECTOR_MISBEHAVED'] as const
export type CollectorFailure = (typeof collectorFailures)[number]

/**
 * What an endpoint says, where who has not looked cannot take back what was seen: a fault stands until somebody looks again. That nobody
 * could tell is better than a fault, and a collector that died is no reason to trust more.
 *
 * @param before what this gave of the statement before
 * @returns of each claim of a collector that failed the worst that was seen, if it is worse than unknown, with the failure as its detail
 */
export function holdFaults(
  before: readonly Observation[],
  now: readonly Observation[],
): readonly Observation[] {
  if (!now.some(hasFailed)) return now
  const looked = new Set(now.filter((one) => !hasFailed(one)).map(keyOf))
  return now.map((one) => {
    if (!hasFailed(one)) return one
    // A collector may speak under several names, such as that of the package manager it found.
    const [worst] = faultsIn(before)
      .filter((seen) => seen.claim === one.claim && !looked.has(keyOf(seen)))
      .toSorted((a, b) => rankOf(one.claim, a.value) - rankOf(one.claim, b.value))
    return worst === undefined ? one : { ...one, value: worst.value }
  })
}

/** @returns what is worse than not to be known */
export function faultsIn(observations: readonly Observation[]): readonly Observation[] {
  return observations.filter(({ claim, value }) => rankOf(claim, value) < rankOf(claim, unknownValue))
}

/** @returns why its collector has not looked; undefined when it has */
export function failureOf({ detail }: Pick<Observation, 'detail'>): CollectorFailure | undefined {
  return collectorFailures.find((code) => detail.startsWith(code))
}

function hasFailed(one: Observation): boolean {
  return one.value === unknownValue && failureOf(one) !== undefined
}

function keyOf({ claim, collector }: Observation): string {
  return `${claim} ${collector}`
}

/** Looks at one side of an endpoint. */
export interface Collector {
  /** Lower case, unique. */
  readonly name: string
  /** What it can speak about; when it fails or hangs these are `unknown`. */
  readonly claims: readonly ClaimName[]
  /** @returns at most one observation for each claim; a claim that does not apply here is left out */
  collect(signal: AbortSignal): Promise<readonly Observation[]>
}
