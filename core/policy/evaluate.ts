import { type EntityJson, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs'
import { type ClaimName, claimNames, isKnownClaim, type TrustContext } from '#core/trust/index.ts'
import type { DeliveryMode } from '#core/trust/words.ts'
import type { CompiledPolicy, Policy } from './compile.ts'
import { entityKey } from './mentions.ts'
import { isRight, type PolicyAction, parentOf } from './schema.ts'
import { type Slice, sliceFor } from './slice.ts'

/** What the policy is asked about beside person and circumstances. */
export interface Target {
  readonly id: string
  readonly collections: readonly string[]
}

export interface Question {
  readonly person: TrustContext['person']
  readonly claims: TrustContext['claims']
  readonly target: Target
  readonly action: PolicyAction
  /** The mode that is asked for, or in which a right would be used. */
  readonly mode: DeliveryMode
}

/** The policy's answer. INVARIANT (I6): `allowed` is true only when no policy erred. */
export interface Verdict {
  readonly allowed: boolean
  /** Policies that determined it, sorted by id: the permits of a yes, the forbids of a no, none when nothing permits. */
  readonly policies: readonly Policy[]
  /** Claims that the answer can depend on. */
  readonly claims: readonly ClaimName[]
  /** Why there is no answer; then it is no. */
  readonly error?: string
}

/** Asks the policy one question. Never throws: whatever breaks, Cedar included, the answer is no. */
export function ask(policy: CompiledPolicy, question: Question): Verdict {
  try {
    return evaluate(policy, question)
  } catch (error) {
    return refused(error instanceof Error ? error.message : 'evaluation failed')
  }
}

function evaluate(policy: CompiledPolicy, { person, claims, target, action, mode }: Question): Verdict {
  const malformed = claimNames.find((name) => !isKnownClaim(name, claims[name]))
  if (malformed !== undefined) return refused(`${malformed} is missing or malformed`)
  const principal = { type: 'Person', id: person.id }
  const resource = { type: 'Workspace', id: target.id }
  const groups = person.groups.map((id) => ({ type: 'Group', id }))
  const collections = target.collections.map((id) => ({ type: 'Collection', id }))
  const slice = sliceFor(policy, {
    action,
    principals: [principal, ...groups].map(entityKey),
    resources: [resource, ...collections].map(entityKey),
  })
  if (slice === undefined) return refused('the policies in scope do not parse')
  // Most of a call is the way of its data into Cedar: only what these policies look at makes it.
  const isNamed = (uid: { type: string; id: string }): boolean => slice.entities?.has(entityKey(uid)) ?? false
  const answer = statefulIsAuthorized({
    principal,
    action: { type: 'Action', id: action },
    resource,
    context: contextOf(slice, claims, isRight(action) ? mode : undefined),
    preparsedPolicySetId: slice.cedarId,
    entities: slice.entities
      ? [
          entity(principal, groups.filter(isNamed)),
          entity(resource, collections.filter(isNamed)),
          entity({ type: 'Action', id: action }, [{ type: 'Action', id: parentOf(action) }]),
        ]
      : [],
  })
  return verdictOf(slice, answer)
}

function verdictOf(slice: Slice, answer: ReturnType<typeof statefulIsAuthorized>): Verdict {
  if (answer.type === 'failure') return refused(answer.errors.map(({ message }) => message).join('; '))
  const { decision, diagnostics } = answer.response
  const [problem] = diagnostics.errors
  // Cedar skips a forbid that errs and would then allow: an error anywhere is a no.
  if (problem !== undefined) return refused(`${problem.policyId}: ${problem.error.message}`)
  // Cedar gives reasons in no order.
  const policies = diagnostics.reason.toSorted().map((id) => slice.policies.get(id))
  return {
    allowed: decision === 'allow',
    policies: policies.filter((one) => one !== undefined),
    claims: slice.claims,
  }
}

function refused(error: string): Verdict {
  return { allowed: false, policies: [], claims: [], error }
}

/** `{ 'endpoint.antivirus.value': 'on', … }` of what these policies look at. */
function contextOf(
  { attributes }: Slice,
  claims: TrustContext['claims'],
  mode: DeliveryMode | undefined,
): Record<string, string | number> {
  const context: Record<string, string | number> = mode === undefined ? {} : { mode }
  for (const [path, { claim, attribute }] of attributes) context[path] = claims[claim][attribute]
  return context
}

function entity(uid: EntityJson['uid'], parents: EntityJson['parents']): EntityJson {
  return { uid, attrs: {}, parents }
}
