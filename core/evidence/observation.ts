import type { ClaimName } from '#core/trust/index.ts'

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

/** Looks at one side of an endpoint. */
export interface Collector {
  /** Lower case, unique. */
  readonly name: string
  /** What it can speak about; when it fails or hangs these are `unknown`. */
  readonly claims: readonly ClaimName[]
  /** @returns at most one observation for each claim; a claim that does not apply here is left out */
  collect(signal: AbortSignal): Promise<readonly Observation[]>
}
