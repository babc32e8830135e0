import {
  bestValue,
  type ClaimName,
  claimVocabulary,
  type KnownClaim,
  rankOf,
  remedyFor,
  type TrustContext,
  unknownValue,
} from '#core/trust/index.ts'
import type { CompiledPolicy } from './compile.ts'
import { ask, type Question, type Verdict } from './evaluate.ts'

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
/** Questions to the policy before the search settles for one way that works. */
const maxQuestions = 64

/** Whether the policy would permit, were these claims at their best or at the values that `to` says. */
type Permits = (names: readonly ClaimName[], to?: (name: ClaimName) => string) => boolean

/**
 * Finds the smallest changes of claims that would turn a refusal into a permit, by asking the policy.
 *
 * Only claims that these policies mention and that a person can change are tried. First all at their best:
 * if even that is refused there is no way. What the permit does not survive without is in every way; the rest is
 * tried smallest first. Each way found was permitted when asked for; where a better claim never hurts, as in any
 * sane policy, no smaller way exists.
 */
export function findUnlocks(policy: CompiledPolicy, question: Question, refusal: Verdict): readonly Unlock[] {
  const { claims } = question
  const candidates = refusal.claims.filter(
    (name) =>
      claimVocabulary[name].remedy !== undefined &&
      rankOf(name, claims[name].value) < rankOf(name, bestValue(name)),
  )
  let questions = 0
  const permits: Permits = (names, to = bestValue) => {
    questions += 1
    return ask(policy, { ...question, claims: changed(claims, names, to) }).allowed
  }
  if (candidates.length === 0 || !permits(candidates)) return []
  const necessary = candidates.filter((name) => !permits(without(candidates, name)))
  const others = candidates.filter((name) => !necessary.includes(name))
  for (let size = 0; size <= others.length; size++) {
    const found: (readonly ClaimName[])[] = []
    for (const some of combinations(others, size)) {
      if (questions >= maxQuestions) found.push(shrink(candidates, permits))
      else if (permits([...necessary, ...some])) found.push([...necessary, ...some])
      if (found.length === maxUnlocks || questions >= maxQuestions) break
    }
    if (found.length > 0) return found.map((names) => ({ changes: leastChanges(names, claims, permits) }))
  }
  return []
}

/** Leaves out what can be left out, one claim after the other. */
function shrink(names: readonly ClaimName[], permits: Permits): readonly ClaimName[] {
  return names.reduce((kept, name) => (permits(without(kept, name)) ? without(kept, name) : kept), names)
}

function without(names: readonly ClaimName[], name: ClaimName): readonly ClaimName[] {
  return names.filter((other) => other !== name)
}

/** The best value may be more than is needed: takes the least that still permits. */
function leastChanges(
  names: readonly ClaimName[],
  claims: TrustContext['claims'],
  permits: Permits,
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
    remedy: remedyFor(claim, target.get(claim) ?? bestValue(claim)),
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

function* combinations<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  if (size === 0) yield []
  else
    for (const [index, item] of items.entries())
      for (const rest of combinations(items.slice(index + 1), size - 1)) yield [item, ...rest]
}
