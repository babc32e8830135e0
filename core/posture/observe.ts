import type { Observation } from '#core/evidence/observation.ts'
import { type ClaimName, claimVocabulary, rankOf, unknownValue } from '#core/trust/index.ts'

/** What a detail may have at most; what evidence takes. */
export const maxDetailChars = 300

/** An observation in the vocabulary's words and the evidence's bounds, whatever was read. */
export function observe(claim: ClaimName, value: string, collector: string, detail: string): Observation {
  const known = claimVocabulary[claim].values.includes(value) ? value : unknownValue
  return { claim, value: known, collector, detail: printable(detail) }
}

/** Says that a collector could not tell. */
export function unknown(claim: ClaimName, collector: string, detail: string): Observation {
  return observe(claim, unknownValue, collector, detail)
}

/**
 * What the endpoint as a whole says: of each claim the worst that any collector saw. Who could not tell does not count beside one who could.
 *
 * @returns in the vocabulary's order
 */
export function worstOf(observations: readonly Observation[]): readonly Observation[] {
  const byClaim = Map.groupBy(observations, ({ claim }) => claim)
  return (Object.keys(claimVocabulary) as ClaimName[]).flatMap((claim) => {
    const seen = byClaim.get(claim) ?? []
    const told = seen.filter(({ value }) => value !== unknownValue)
    const [worst] = (told.length > 0 ? told : seen).toSorted(
      (a, b) => rankOf(claim, a.value) - rankOf(claim, b.value),
    )
    return worst === undefined ? [] : [worst]
  })
}

/** What programs print goes to people and into logs: one line, without control characters. */
function printable(text: string): string {
  const line = text
    .slice(0, maxDetailChars * 4)
    .replaceAll(/[\p{C}\s]+/gu, ' ')
    .trim()
  return line.length > maxDetailChars ? `${line.slice(0, maxDetailChars - 1)}…` : line
}
