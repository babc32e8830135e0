import { hash } from 'node:crypto'
import { claimVocabulary, type TrustContext } from '#core/trust/index.ts'
import {
  type DataPlace,
  type DeliveryMode,
  type Obligations,
  placeOf,
  type Right,
  rights,
} from '#core/trust/words.ts'
import type { CompiledPolicy } from './compile.ts'
import { ask, type Question, type Target, type Verdict } from './evaluate.ts'
import { mergeObligations } from './obligations.ts'
import { findUnlocks, type Unlock } from './unlocks.ts'

/** Why a mode that the policy permits cannot be delivered now. */
export interface Unavailable {
  readonly code: 'NO_DELIVERER' | 'NO_CAPACITY' | 'NO_ENDPOINT' | 'NO_RELEASE'
  readonly reason: string
}

/** Nothing that a person can change about themselves, their device or their network makes these deliverable. */
const undeliverable: ReadonlySet<string> = new Set<Unavailable['code']>(['NO_DELIVERER', 'NO_RELEASE'])

/** A reason names no more than so many claims; the unlocks say all. */
const maxLacking = 2

export interface Refusal {
  readonly mode: DeliveryMode
  readonly place: DataPlace
  readonly code: 'POLICY_FORBIDS' | 'POLICY_NO_PERMIT' | 'POLICY_ERROR' | Unavailable['code']
  /** One sentence for the person. */
  readonly reason: string
  /** Policies that forbade it, or that permit what cannot be delivered. */
  readonly policies: readonly string[]
  /** False when nothing here delivers the mode, were it permitted: then an unlock promises nothing yet. */
  readonly deliverable: boolean
  readonly unlocks: readonly Unlock[]
}

/** A right that is withheld in the chosen mode. */
export interface Restriction {
  readonly right: Right
  readonly reason: string
  readonly policies: readonly string[]
  readonly unlocks: readonly Unlock[]
}

export interface Outcome {
  readonly mode: DeliveryMode
  readonly place: DataPlace
  readonly rights: readonly Right[]
  readonly restrictions: readonly Restriction[]
  readonly obligations: Obligations
  /** Policies that permitted mode and rights, sorted. */
  readonly policies: readonly string[]
}

export interface Decision {
  readonly outcome: Outcome | undefined
  /** The modes that come before the chosen one in the workspace's order; all of them when none was chosen. */
  readonly refused: readonly Refusal[]
  readonly policyDigest: string
  readonly contextDigest: string
}

export interface DecisionRequest {
  readonly context: TrustContext
  readonly workspace: Target & { readonly modes: readonly DeliveryMode[] }
  /** Why a mode could not be delivered now, were it permitted. */
  readonly available: (mode: DeliveryMode) => Unavailable | undefined
}

/**
 * Decides one launch: the first permitted and available mode in the workspace's order, with its rights and obligations,
 * and for everything better the reason why not and what would unlock it.
 */
export function decide(policy: CompiledPolicy, request: DecisionRequest): Decision {
  const { context, workspace } = request
  const { person, claims } = context
  const refused: Refusal[] = []
  let outcome: Outcome | undefined
  for (const mode of workspace.modes) {
    const question: Question = { person, claims, target: workspace, action: mode, mode }
    const verdict = ask(policy, question)
    const unavailable = request.available(mode)
    if (verdict.allowed && unavailable === undefined) {
      outcome = outcomeOf(policy, question, verdict)
      break
    }
    refused.push(refusalOf(policy, question, verdict, unavailable))
  }
  return { outcome, refused, policyDigest: policy.digest, contextDigest: digestOf(context) }
}

function outcomeOf(policy: CompiledPolicy, permitted: Question, permit: Verdict): Outcome {
  const { mode } = permitted
  const asked = rights.map((right) => {
    const question: Question = { ...permitted, action: right }
    return { right, question, verdict: ask(policy, question) }
  })
  const granted = asked.filter(({ verdict }) => verdict.allowed)
  const matching = [permit, ...granted.map(({ verdict }) => verdict)].flatMap(({ policies }) => policies)
  return {
    mode,
    place: placeOf[mode],
    rights: granted.map(({ right }) => right),
    restrictions: asked
      .filter(({ verdict }) => !verdict.allowed)
      .map(({ right, question, verdict }) => {
        const unlocks = findUnlocks(policy, question, verdict)
        const reason = reasonOf(verdict, `No rule allows ${rightInWords[right]} here`, unlocks)
        return { right, reason, policies: idsOf(verdict), unlocks }
      }),
    obligations: mergeObligations(matching.map(({ obligations }) => obligations)),
    policies: [...new Set(matching.map(({ id }) => id))].toSorted(),
  }
}

function refusalOf(
  policy: CompiledPolicy,
  question: Question,
  verdict: Verdict,
  unavailable: Unavailable | undefined,
): Refusal {
  const { mode } = question
  const deliverable = unavailable === undefined || !undeliverable.has(unavailable.code)
  const where = { mode, place: placeOf[mode], policies: idsOf(verdict), deliverable }
  if (verdict.allowed && unavailable !== undefined) {
    const { code, reason } = unavailable
    return { ...where, code, reason: `The policy allows this. ${reason}`, unlocks: [] }
  }
  const unlocks = findUnlocks(policy, question, verdict)
  const reason = reasonOf(verdict, `No rule allows ${modeInWords[mode]} for you here`, unlocks)
  return { ...where, code: codeOf(verdict), reason, unlocks }
}

function codeOf({ error, policies }: Verdict): Refusal['code'] {
  if (error !== undefined) return 'POLICY_ERROR'
  return policies.length > 0 ? 'POLICY_FORBIDS' : 'POLICY_NO_PERMIT'
}

/** @param silent what to say when no policy permits and none forbids */
function reasonOf({ error, policies }: Verdict, silent: string, unlocks: readonly Unlock[]): string {
  if (error !== undefined) return 'The policy could not be evaluated, so the answer is no'
  const [first] = policies
  if (first === undefined) return silent + lacking(unlocks)
  const { reason } = policies.find((policy) => policy.reason !== undefined) ?? first
  return reason ?? `Your organisation's rule ${first.id} forbids this`
}

/** What stands in the way, where there is one way out and it is short: ` (Antivirus: off)`. */
function lacking(unlocks: readonly Unlock[]): string {
  const [only, ...others] = unlocks
  if (only === undefined || others.length > 0 || only.changes.length > maxLacking) return ''
  const said = only.changes.map(({ claim, from }) => `${claimVocabulary[claim].label}: ${from}`)
  return ` (${said.join(', ')})`
}

function idsOf({ policies }: Verdict): readonly string[] {
  return policies.map(({ id }) => id)
}

const modeInWords: Readonly<Record<DeliveryMode, string>> = {
  'hosted-shared': 'a session on a shared host',
  'hosted-vm': 'a virtual machine in the data centre',
  'hosted-blade': 'a machine of your own in the data centre',
  'streamed-disk': 'a disk streamed to this device',
  'local-vm': 'a virtual machine on this device',
  'network-boot': 'starting this device from the network',
}

const rightInWords: Readonly<Record<Right, string>> = {
  input: 'keyboard and mouse',
  'clipboard-in': 'copying into the session',
  'clipboard-out': 'copying out of the session',
}

/** SHA-256, hex, of everything the decision knew. */
function digestOf({ person, zone, claims }: TrustContext): string {
  const known = Object.entries(claims).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return hash('sha256', JSON.stringify([person.id, person.groups.toSorted(), zone, known]))
}
