import { claimVocabulary, isClaimName, type TrustContext } from '#core/trust/index.ts'
import type { DeliveryMode } from '#core/trust/words.ts'

/** What of a decision is told; the API's shape of it fits as well as the policy's own. */
export interface Explainable {
  readonly outcome?:
    | {
        readonly mode: DeliveryMode
        readonly place: string
        readonly rights: readonly string[]
        readonly restrictions: readonly {
          readonly right: string
          readonly reason: string
          readonly unlocks: readonly ExplainableUnlock[]
        }[]
        readonly obligations: object
        readonly policies: readonly string[]
      }
    | undefined
  readonly refused: readonly {
    readonly mode: DeliveryMode
    readonly code: string
    readonly reason: string
    readonly deliverable: boolean
    readonly unlocks: readonly ExplainableUnlock[]
  }[]
}

interface ExplainableUnlock {
  readonly changes: readonly { readonly claim: string; readonly to: string; readonly remedy: string }[]
}

/** A decision as lines for a terminal: what happens, why nothing better, and what would unlock it. */
export function explainDecision(
  { outcome, refused }: Explainable,
  subject: { readonly workspace: string; readonly context: TrustContext },
): readonly string[] {
  const { zone, zoneReason, person } = subject.context
  const lines = [
    `${subject.workspace}, for groups ${person.groups.join(', ') || '(none)'} in zone ${zone.name} (${zone.kind})`,
    ...(zoneReason === undefined ? [] : [zoneReason]),
    '',
  ]
  if (outcome === undefined) lines.push('Refused in every mode.')
  else {
    lines.push(`Delivered as ${outcome.mode}; its data stays in: ${outcome.place}`)
    lines.push(`  rights       ${outcome.rights.join(', ') || '(none)'}`)
    lines.push(
      `  obligations  ${Object.entries(outcome.obligations)
        .map(([name, value]) => `${name}=${value}`)
        .join(', ')}`,
    )
    lines.push(`  permitted by ${outcome.policies.join(', ')}`)
    for (const { right, reason, unlocks } of outcome.restrictions)
      lines.push(`  no ${right}: ${reason}`, ...unlockLines(unlocks))
  }
  if (refused.length > 0) lines.push('', outcome === undefined ? 'Why not:' : 'Why nothing better:')
  for (const { mode, code, reason, deliverable, unlocks } of refused)
    lines.push(
      `  ${mode}  ${code}: ${reason}`,
      ...unlockLines(unlocks),
      ...(deliverable || code === 'NO_DELIVERER' || code === 'NO_RELEASE'
        ? []
        : ['      (and this site cannot deliver in this way yet)']),
    )
  return lines
}

function unlockLines(unlocks: readonly ExplainableUnlock[]): readonly string[] {
  return unlocks.map(
    ({ changes }) =>
      `      would unlock it: ${changes.map(({ claim, to, remedy }) => `${remedy} (${labelOf(claim)}: ${to})`).join(' and ')}`,
  )
}

function labelOf(claim: string): string {
  return isClaimName(claim) ? claimVocabulary[claim].label : claim
}
