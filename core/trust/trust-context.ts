import { type ClaimName, claimNames, claimVocabulary, isClaimName, rankOf, unknownValue } from './claims.ts'
import { type Claim, type ClaimSource, claimSources } from './words.ts'
import type { Zone } from './zone.ts'

/** What is known of one claim at the moment of a decision. */
export interface KnownClaim {
  /** A value of the claim's vocabulary. */
  readonly value: string
  readonly source: ClaimSource
  /** Whole seconds since it was observed. */
  readonly ageSec: number
}

export interface Principal {
  readonly id: string
  /** Names of all groups the person is in. */
  readonly groups: readonly string[]
}

/** All that a decision knows about a person, their endpoint and their network. */
export interface TrustContext {
  readonly person: Principal
  readonly zone: Zone
  /** Why this zone counts: one sentence, for people. */
  readonly zoneReason?: string | undefined
  /** Every claim of the vocabulary, `unknown` where nothing is known. */
  readonly claims: Readonly<Record<ClaimName, KnownClaim>>
}

export interface TrustInput {
  readonly person: Principal
  /** Claims of any age and name, in any order; those the vocabulary lacks are dropped. */
  readonly claims: readonly Claim[]
  /** The zone that the site saw. Only this, and never a claim, says that an endpoint is inside. */
  readonly zone: Zone
  /** One sentence, for people. */
  readonly zoneReason?: string | undefined
  /** Unix time, ms. */
  readonly now: number
}

/** Clocks of our own machines may differ by this much; a claim from further ahead is not believed. */
const maxSkewMs = 60_000

/**
 * Settles all claims into one value each.
 *
 * The best source other than `self` wins, among equals the newest, among those the worst. What is older than
 * the vocabulary allows is unknown.
 *
 * INVARIANT (I5): a `self` claim lowers a value in the vocabulary's order or is ignored.
 */
export function trustContext({ person, claims, zone, zoneReason, now }: TrustInput): TrustContext {
  const seen: Claim = { name: 'network.zone', value: zone.kind, source: 'server', observedAt: now }
  const believed = claims.filter((claim) => claim.name !== seen.name || claim.source === 'self')
  const byName = Map.groupBy([...believed, seen], (claim) => claim.name)
  const settled = claimNames.map((name) => [name, settle(name, byName.get(name) ?? [], now)] as const)
  return { person, zone, zoneReason, claims: Object.fromEntries(settled) as Record<ClaimName, KnownClaim> }
}

/** @returns true when the value is in the claim's vocabulary, the source known and the age whole and not negative */
export function isKnownClaim(name: string, claim: KnownClaim | undefined): claim is KnownClaim {
  return (
    claim !== undefined &&
    isClaimName(name) &&
    claimVocabulary[name].values.includes(claim.value) &&
    claimSources.includes(claim.source) &&
    Number.isSafeInteger(claim.ageSec) &&
    claim.ageSec >= 0
  )
}

function settle(name: ClaimName, claims: readonly Claim[], now: number): KnownClaim {
  const { values, maxAgeSec } = claimVocabulary[name]
  const current = claims
    .filter(({ observedAt }) => observedAt <= now + maxSkewMs && now - observedAt <= maxAgeSec * 1000)
    .map(({ value, source, observedAt }) => ({
      value: values.includes(value) ? value : unknownValue,
      source,
      ageSec: Math.max(0, Math.floor((now - observedAt) / 1000)),
    }))
  const rank = ({ value }: KnownClaim): number => rankOf(name, value)
  const [proven] = current
    .filter(({ source }) => source !== 'self')
    .toSorted((a, b) => trustIn(a) - trustIn(b) || a.ageSec - b.ageSec || rank(a) - rank(b))
  const [selfReported] = current
    .filter(({ source }) => source === 'self')
    .toSorted((a, b) => rank(a) - rank(b) || a.ageSec - b.ageSec)
  // Nothing known counts as the least believed and oldest that a claim can be.
  const settled = proven ?? { value: unknownValue, source: 'self', ageSec: maxAgeSec }
  return selfReported && rank(selfReported) < rank(settled) ? selfReported : settled
}

function trustIn({ source }: KnownClaim): number {
  return claimSources.indexOf(source)
}
