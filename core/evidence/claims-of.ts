import {
  type Claim,
  type ClaimName,
  claimNames,
  claimVocabulary,
  defaultZone,
  isClaimName,
  type KnownClaim,
  rankOf,
  trustContext,
  unknownValue,
} from '#core/trust/index.ts'
import { type EvidenceSeen, evidenceSilenceMs } from './accept-evidence.ts'
import type { Observation } from './observation.ts'

/** What another system of the organisation, such as an MDM or EDR server, has said of an endpoint. */
export interface SystemStatement {
  readonly system: string
  readonly claim: ClaimName
  readonly value: string
  /** When that system saw it, Unix ms. */
  readonly at: number
  /** Until when it counts, Unix ms. */
  readonly expiresAt: number
}

/** What a verified quote of the endpoint's TPM has shown. */
export interface AttestedValues {
  readonly deviceKey: 'tpm'
  readonly secureBoot: 'on' | 'off' | 'unknown'
  readonly bootState: 'expected' | 'changed' | 'unknown'
  readonly detail: string
}

/** What a site keeps of one endpoint's evidence. */
export interface EndpointKnowledge {
  /** When evidence was last accepted, Unix ms; undefined: never. */
  readonly lastAt: number | undefined
  /** The endpoint's own words. */
  readonly observations: readonly Observation[]
  readonly attested: AttestedValues | undefined
  readonly seen: EvidenceSeen | undefined
  /** Whether somebody opened another connection of this endpoint, such as the one that people's requests take. */
  readonly path: { readonly interception: EvidenceSeen['interception']; readonly at: number } | undefined
  /** Another machine has its key, or it was put back: nothing that its key signs proves which machine speaks. */
  readonly isForked: boolean
}

/** Of whom nothing was ever heard. */
export const noKnowledge: EndpointKnowledge = {
  lastAt: undefined,
  observations: [],
  attested: undefined,
  seen: undefined,
  path: undefined,
  isForked: false,
}

/** Claims that other systems may speak about: those that two sources prove together. What a TPM or the site shows needs no hearsay. */
export const statableClaims: readonly ClaimName[] = claimNames.filter(
  (name) => claimVocabulary[name].provenBy === 'corroborated',
)

/**
 * Everything that is known of an endpoint, each claim with where it comes from.
 *
 * | source | when |
 * |---|---|
 * | attested | a quote of the enrolled TPM over the statement shows it |
 * | server | the site saw it, or another system of the organisation said it |
 * | corroborated | the endpoint says it, another system says it, and no other system says otherwise |
 * | self | the endpoint alone says it: it lowers or is ignored (I5) |
 *
 * A statement of another system holds until it expires, so it is as old as this moment; what the endpoint said is as old as its evidence.
 */
export function claimsOf(
  knowledge: EndpointKnowledge,
  statements: readonly SystemStatement[],
  now: number,
): readonly Claim[] {
  const { lastAt, isForked } = knowledge
  const isCurrent = lastAt !== undefined && now - lastAt <= evidenceSilenceMs && !isForked
  const valid = statements.filter(({ expiresAt }) => expiresAt > now)
  const evident = isCurrent ? evidentClaims(knowledge, valid, lastAt) : []
  return [
    isCurrent
      ? { name: 'endpoint.reporting', value: 'current', source: 'server', observedAt: lastAt }
      : { name: 'endpoint.reporting', value: 'silent', source: 'server', observedAt: now },
    { name: 'endpoint.deviceKey', value: isForked ? 'none' : 'file', source: 'server', observedAt: now },
    ...evident,
    ...interceptionClaims(knowledge, now),
    ...valid.map(({ claim, value }): Claim => ({ name: claim, value, source: 'server', observedAt: now })),
  ]
}

/** What fresh evidence gives. */
function evidentClaims(
  { observations, attested, seen }: EndpointKnowledge,
  statements: readonly SystemStatement[],
  observedAt: number,
): readonly Claim[] {
  // Who could not tell has said nothing.
  const told = observations.filter(({ value }) => value !== unknownValue)
  const agreed = [...new Set(told.map(({ claim }) => claim))].flatMap((claim): Claim[] => {
    const own = told.filter((one) => one.claim === claim)
    const others = statements.filter((one) => one.claim === claim)
    const [first] = others
    const isAgreed = first !== undefined && [...own, ...others].every(({ value }) => value === first.value)
    return isAgreed ? [{ name: claim, value: first.value, source: 'corroborated', observedAt }] : []
  })
  return [
    ...told.map(({ claim, value }): Claim => ({ name: claim, value, source: 'self', observedAt })),
    ...agreed,
    ...(attested === undefined ? [] : attestedClaims(attested, observedAt)),
    ...(seen === undefined
      ? []
      : [{ name: 'endpoint.clock', value: seen.clock, source: 'server', observedAt } as const]),
  ]
}

function attestedClaims(
  { deviceKey, secureBoot, bootState }: AttestedValues,
  observedAt: number,
): readonly Claim[] {
  const shown: readonly (readonly [ClaimName, string])[] = [
    ['endpoint.deviceKey', deviceKey],
    ['endpoint.secureBoot', secureBoot],
    ['endpoint.bootState', bootState],
  ]
  return shown
    .filter(([, value]) => value !== unknownValue)
    .map(([name, value]) => ({ name, value, source: 'attested', observedAt }))
}

/** Of several ways to the site the worst counts while it is fresh: whoever opens one of them reads what goes there. */
function interceptionClaims({ lastAt, seen, path }: EndpointKnowledge, now: number): readonly Claim[] {
  const name = 'network.interception'
  const looks = [
    ...(lastAt === undefined || seen === undefined ? [] : [{ value: seen.interception, at: lastAt }]),
    ...(path === undefined ? [] : [{ value: path.interception, at: path.at }]),
  ].filter(({ at }) => now - at <= claimVocabulary[name].maxAgeSec * 1000)
  const [worst] = looks.toSorted((a, b) => rankOf(name, a.value) - rankOf(name, b.value))
  return worst === undefined ? [] : [{ name, value: worst.value, source: 'server', observedAt: worst.at }]
}

/** Claims that an endpoint's evidence settles: all of the vocabulary but the person's and the zone. */
export const evidentClaimNames: readonly ClaimName[] = claimNames.filter(
  (name) => !name.startsWith('person.') && name !== 'network.zone' && name !== 'endpoint.management',
)

/** What each claim is worth once it is settled, as a decision would see it. */
export function settledClaims(
  claims: readonly Claim[],
  now: number,
): Readonly<Partial<Record<ClaimName, KnownClaim>>> {
  const context = trustContext({ person: { id: '', groups: [] }, claims, zone: defaultZone, now })
  return Object.fromEntries(evidentClaimNames.map((name) => [name, context.claims[name]]))
}

/** Claim by claim the value that an endpoint fell from and has not come back to. */
export type Fallen = Readonly<Partial<Record<ClaimName, KnownClaim>>>

type Settled = Readonly<Partial<Record<ClaimName, KnownClaim>>>

/**
 * Keeps what an endpoint fell from. A claim that is worse than before is remembered as it was before its fall, until it is as good again.
 */
export function fallenAfter(fallen: Fallen, before: Settled, after: Settled): Fallen {
  const entries = evidentClaimNames.flatMap((name) => {
    const is = after[name]?.value ?? unknownValue
    const was = fallen[name] ?? before[name]
    return was !== undefined && rankOf(name, is) < rankOf(name, was.value) ? [[name, was] as const] : []
  })
  return Object.fromEntries(entries)
}

/** @returns whether a claim is worth less than before */
export function hasWorsened(before: Settled, after: Settled): boolean {
  return evidentClaimNames.some((name) => {
    const was = before[name]
    return was !== undefined && rankOf(name, after[name]?.value ?? unknownValue) < rankOf(name, was.value)
  })
}

/**
 * The claims as if the endpoint had not fallen: what running work is decided by while a brake holds. Interception is never passed over.
 */
export function beforeTheFall(claims: readonly Claim[], fallen: Fallen, now: number): readonly Claim[] {
  const restored = Object.entries(fallen).filter(([name]) => name !== 'network.interception')
  const names = new Set(restored.map(([name]) => name))
  return [
    ...claims.filter(({ name }) => !names.has(name)),
    ...restored.flatMap(([name, was]) =>
      isClaimName(name) ? [{ name, value: was.value, source: was.source, observedAt: now }] : [],
    ),
  ]
}

/** How an endpoint's claims differ, for the books and for people. */
export interface ClaimChange {
  readonly claim: ClaimName
  readonly from: string
  readonly to: string
}

export function changesBetween(before: Settled, after: Settled): readonly ClaimChange[] {
  return evidentClaimNames.flatMap((claim) => {
    const from = before[claim]?.value ?? unknownValue
    const to = after[claim]?.value ?? unknownValue
    return from === to ? [] : [{ claim, from, to }]
  })
}
