import {
  bestValue,
  type ClaimName,
  claimNames,
  claimVocabulary,
  type KnownClaim,
  rankOf,
  type TrustContext,
  unknownValue,
} from '#core/trust/index.ts'
import type { Inquiry } from './evaluate.ts'

/** A smallest set of claim changes that would permit what was refused. */
export interface Unlock {
  readonly changes: readonly ClaimChange[]
}

export interface ClaimChange {
  readonly claim: ClaimName
  readonly from: string
  readonly to: string
  /** What a person does to get there. */
  readonly remedy: string
}

/** So many ways are shown; more would not help anybody. */
const maxUnlocks = 3
/** Questions to the policy for one search; beyond it what was found so far is what there is. */
const maxQuestions = 80

/**
 * Finds the smallest changes of claims that would turn a refusal into a permit, by asking the policy.
 *
 * Only claims that these policies mention and that a person can change are tried. First all at their best:
 * if even that is refused there is no way. What the permit does not survive without is in every way; the rest is tried smallest first.
 */
export function findUnlocks(inquiry: Inquiry, claims: TrustContext['claims']): readonly Unlock[] {
  const candidates = claimNames.filter(
    (name) =>
      inquiry.claims.has(name) &&
      claimVocabulary[name].remedy !== undefined &&
      rankOf(name, claims[name].value) < rankOf(name, bestValue(name)),
  )
  let questions = 0
  const permits = (names: readonly ClaimName[], to: (name: ClaimName) => string = bestValue): boolean => {
    questions += 1
    return questions <= maxQuestions && inquiry.ask(changed(claims, names, to)).allowed
  }
  if (candidates.length === 0 || !permits(candidates)) return []
  const necessary = candidates.filter((name) => !permits(candidates.filter((other) => other !== name)))
  const others = candidates.filter((name) => !necessary.includes(name))
  for (let size = 0; size <= others.length; size++) {
    const found = combinations(others, size)
      .map((some) => [...necessary, ...some])
      .filter((names) => permits(names))
      .slice(0, maxUnlocks)
    if (found.length > 0) return found.map((names) => ({ changes: leastChanges(names, claims, permits) }))
    if (questions > maxQuestions) break
  }
  return []
}

/** The best value may be more than is needed: takes the least that still permits. */
function leastChanges(
  names: readonly ClaimName[],
  claims: TrustContext['claims'],
  permits: (names: readonly ClaimName[], to: (name: ClaimName) => string) => boolean,
): readonly ClaimChange[] {
  const target = new Map(names.map((name) => [name, bestValue(name)]))
  for (const name of names) {
    const { values } = claimVocabulary[name]
    const between = values
      .slice(rankOf(name, claims[name].value) + 1, -1)
      .filter((value) => value !== unknownValue)
    const enough = between.find((value) =>
      permits(names, (other) => (other === name ? value : (target.get(other) ?? bestValue(other)))),
    )
    if (enough !== undefined) target.set(name, enough)
  }
  return names.map((claim) => ({
    claim,
    from: claims[claim].value,
    to: target.get(claim) ?? bestValue(claim),
    remedy: claimVocabulary[claim].remedy ?? '',
  }))
}

/** As if the person had acted and the site had seen it by the source that ordinarily proves the claim. */
function changed(
  claims: TrustContext['claims'],
  names: readonly ClaimName[],
  to: (name: ClaimName) => string,
): TrustContext['claims'] {
  const better = names.map((name): readonly [ClaimName, KnownClaim] => [
    name,
    { value: to(name), source: claimVocabulary[name].provenBy, ageSec: 0 },
  ])
  return { ...claims, ...Object.fromEntries(better) }
}

function combinations<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  if (size === 0) return [[]]
  return items.flatMap((item, index) =>
    combinations(items.slice(index + 1), size - 1).map((rest) => [item, ...rest]),
  )
}
