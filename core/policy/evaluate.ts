import { preparsePolicySet, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs'
import { type ClaimName, isKnownClaim, type KnownClaim, type TrustContext } from '#core/trust/index.ts'
import type { DeliveryMode } from '#core/trust/words.ts'
import type { CompiledPolicy, Policy } from './compile.ts'
import { entityKey } from './mentions.ts'
import { isRight, type PolicyAction, parentOf } from './schema.ts'
import { policiesInScope } from './scope.ts'

/** What the policy is asked about beside person and circumstances. */
export interface Target {
  readonly id: string
  readonly collections: readonly string[]
}

export interface Question {
  readonly action: PolicyAction
  readonly target: Target
  /** For a right: the mode it would be used in. */
  readonly mode?: DeliveryMode
}

/** The policy's answer. INVARIANT (I6): `allowed` is true only when no policy erred. */
export interface Verdict {
  readonly allowed: boolean
  /** Policies that determined it, sorted by id: the permits of a yes, the forbids of a no, none when nothing permits. */
  readonly policies: readonly Policy[]
  /** Why there is no answer; then it is no. */
  readonly error?: string
}

/** A question bound to the policies that can matter to it; asked again with other claims while unlocks are sought. */
export interface Inquiry {
  /** Claims that the answer can depend on. */
  readonly claims: ReadonlySet<ClaimName>
  ask(claims: TrustContext['claims']): Verdict
}

/**
 * Finds the policies whose scope matches, which give the same answer as all together.
 * Cedar keeps them parsed; the last few hundred such sets stay.
 */
export function inquire(policy: CompiledPolicy, { person }: TrustContext, question: Question): Inquiry {
  const { action, target, mode } = question
  const personKey = entityKey({ type: 'Person', id: person.id })
  const groupKeys = person.groups.map((id) => entityKey({ type: 'Group', id }))
  const targetKey = entityKey({ type: 'Workspace', id: target.id })
  const collectionKeys = target.collections.map((id) => entityKey({ type: 'Collection', id }))
  const found = policiesInScope(policy.index, {
    action,
    principals: [personKey, ...groupKeys],
    resources: [targetKey, ...collectionKeys],
  })
  const slice = sliceOf(policy, found)
  const fixed = {
    principal: { type: 'Person', id: person.id },
    action: { type: 'Action', id: action },
    resource: { type: 'Workspace', id: target.id },
    preparsedPolicySetId: slice.id,
    entities: entitiesOf(slice, person, question),
  }
  return {
    claims: slice.claims,
    ask: (claims) => {
      const known = contextOf(slice.claims, claims)
      if (known === undefined)
        return { allowed: false, policies: [], error: 'a claim is missing or malformed' }
      const slot = useSlice(slice)
      if (slot !== undefined) return { allowed: false, policies: [], error: slot }
      const context = isRight(action) ? { ...known, mode: mode ?? '' } : known
      return verdictOf(policy, statefulIsAuthorized({ ...fixed, preparsedPolicySetId: slice.id, context }))
    },
  }
}

interface Slice {
  /** Cedar's name for the parsed set; changes when the slice was dropped and is parsed again. */
  id: string
  readonly key: string
  readonly policies: readonly Policy[]
  readonly claims: ReadonlySet<ClaimName>
  readonly entities: ReadonlySet<string>
}

/** Cedar has no way to drop a set, only to overwrite it: so the names are reused, longest unused first. */
const maxSlices = 512
const slices = new Map<string, Slice>()
let named = 0

function sliceOf(policy: CompiledPolicy, found: ReturnType<typeof policiesInScope>): Slice {
  const key = `${policy.digest} ${found.key}`
  const known = slices.get(key)
  if (known !== undefined) return known
  const policies = found.policies()
  return {
    id: '',
    key,
    policies,
    claims: new Set(policies.flatMap(({ mentions }) => [...mentions.claims])),
    entities: new Set(policies.flatMap(({ mentions }) => [...mentions.entities])),
  }
}

/** @returns why the slice cannot be used, undefined when Cedar has it */
function useSlice(slice: Slice): string | undefined {
  if (slices.get(slice.key) === slice) {
    // The last used stands last.
    slices.delete(slice.key)
    slices.set(slice.key, slice)
    return undefined
  }
  slice.id = freeName()
  const answer = preparsePolicySet(slice.id, {
    staticPolicies: Object.fromEntries(slice.policies.map(({ id, json }) => [id, json])),
  })
  if (answer.type === 'failure') return answer.errors.map(({ message }) => message).join('; ')
  slices.set(slice.key, slice)
  return undefined
}

function freeName(): string {
  if (slices.size < maxSlices) {
    named += 1
    return `slice-${named}`
  }
  const [oldest] = slices.values()
  if (oldest === undefined) return 'slice-0'
  slices.delete(oldest.key)
  return oldest.id
}

/** Only what some policy names needs to be told; groups that nobody mentions change nothing. */
function entitiesOf({ entities }: Slice, person: TrustContext['person'], { action, target }: Question) {
  const parents = (type: string, ids: readonly string[]) =>
    ids.map((id) => ({ type, id })).filter((uid) => entities.has(entityKey(uid)))
  return [
    { uid: { type: 'Person', id: person.id }, attrs: {}, parents: parents('Group', person.groups) },
    {
      uid: { type: 'Workspace', id: target.id },
      attrs: {},
      parents: parents('Collection', target.collections),
    },
    { uid: { type: 'Action', id: action }, attrs: {}, parents: [{ type: 'Action', id: parentOf(action) }] },
  ]
}

/** `{ endpoint: { antivirus: { value, source, ageSec } } }` of the claims that matter; undefined when one is not whole. */
function contextOf(
  names: ReadonlySet<ClaimName>,
  claims: TrustContext['claims'],
): Record<string, Record<string, { value: string; source: string; ageSec: number }>> | undefined {
  const context: Record<string, Record<string, { value: string; source: string; ageSec: number }>> = {}
  for (const name of names) {
    const claim: KnownClaim | undefined = claims[name]
    if (!isKnownClaim(name, claim)) return undefined
    const [subject = '', attribute = ''] = name.split('.')
    const record = context[subject] ?? {}
    record[attribute] = { value: claim.value, source: claim.source, ageSec: claim.ageSec }
    context[subject] = record
  }
  return context
}

function verdictOf(policy: CompiledPolicy, answer: ReturnType<typeof statefulIsAuthorized>): Verdict {
  if (answer.type === 'failure') {
    return { allowed: false, policies: [], error: answer.errors.map(({ message }) => message).join('; ') }
  }
  const { decision, diagnostics } = answer.response
  const [problem] = diagnostics.errors
  // Cedar skips a forbid that errs and would then allow: an error anywhere is a no.
  if (problem !== undefined)
    return { allowed: false, policies: [], error: `${problem.policyId}: ${problem.error.message}` }
  // Cedar gives reasons in no order.
  const policies = diagnostics.reason.toSorted().map((id) => policy.policies.get(id))
  return { allowed: decision === 'allow', policies: policies.filter((one) => one !== undefined) }
}
