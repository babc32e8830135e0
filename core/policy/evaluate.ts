import { type EntityJson, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs'
import { type ClaimName, claimNames, isKnownClaim, type TrustContext } from '#core/trust/index.ts'
import type { DeliveryMode } from '#core/trust/words.ts'
import type { CompiledPolicy, Policy } from './compile.ts'
import { entityKey } from './mentions.ts'
import { isRight, type PolicyAction, parentOf } from './schema.ts'
import { policiesInScope, type ScopedPolicies } from './scope.ts'
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

/**
 * Asks the policies of each scope that the question is in by themselves, so that what is for everybody is parsed once, and not with every
 * group's rules again. One outside these can neither match nor fail, so they answer together as the whole set would.
 */
function evaluate(policy: CompiledPolicy, question: Question): Verdict {
  const { person, claims, target, action } = question
  const malformed = claimNames.find((name) => !isKnownClaim(name, claims[name]))
  if (malformed !== undefined) return refused(`${malformed} is missing or malformed`)
  const asked: Asked = {
    ...question,
    principal: { type: 'Person', id: person.id },
    groups: person.groups.map((id) => ({ type: 'Group', id })),
    resource: { type: 'Workspace', id: target.id },
    collections: target.collections.map((id) => ({ type: 'Collection', id })),
  }
  const scopes = policiesInScope(policy.index, {
    action,
    principals: [asked.principal, ...asked.groups].map(entityKey),
    resources: [asked.resource, ...asked.collections].map(entityKey),
  })
  return together(scopes.map((scope) => evaluateScope(policy, scope, asked)))
}

/** As Cedar decides over all: one forbid forbids, else one permit permits. */
function together(verdicts: readonly Verdict[]): Verdict {
  const failed = verdicts.find(({ error }) => error !== undefined)
  if (failed !== undefined) return failed
  const permits = verdicts.filter(({ allowed }) => allowed)
  const forbids = verdicts.filter(({ allowed, policies }) => !allowed && policies.length > 0)
  const determining = forbids.length > 0 ? forbids : permits
  return {
    allowed: forbids.length === 0 && permits.length > 0,
    policies: determining.flatMap(({ policies }) => policies).toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    claims: claimNames.filter((name) => verdicts.some(({ claims }) => claims.includes(name))),
  }
}

interface Uid {
  readonly type: string
  readonly id: string
}

interface Asked extends Question {
  readonly principal: Uid
  readonly groups: readonly Uid[]
  readonly resource: Uid
  readonly collections: readonly Uid[]
}

/**
 * Answers of before, by slice and by what of a question it looks at: the same is asked for many people and workspaces, and Cedar copies its
 * policies for each answer, which takes milliseconds where thousands are for everybody. The oldest goes first.
 */
const answers = new Map<string, Verdict>()
const mostAnswers = 10_000

function evaluateScope(policy: CompiledPolicy, scope: ScopedPolicies, asked: Asked): Verdict {
  const slice = sliceFor(policy, scope)
  if (slice === undefined) return refused('the policies in scope do not parse')
  const { action, principal, resource } = asked
  const context = contextOf(slice, asked.claims, isRight(action) ? asked.mode : undefined)
  const isNamed = (uid: Uid): boolean => slice.entities?.has(entityKey(uid)) ?? false
  const [groups, collections] = [asked.groups.filter(isNamed), asked.collections.filter(isNamed)]
  const who = [...[principal, resource].filter(isNamed), ...groups, ...collections]
  const key = JSON.stringify([slice.serial, context, slice.entities && [action, who]])
  const known = answers.get(key)
  if (known !== undefined) return known
  const answer = statefulIsAuthorized({
    principal,
    action: { type: 'Action', id: action },
    resource,
    context,
    preparsedPolicySetId: slice.cedarId,
    // Most of a call is the way of its data into Cedar: only what these policies look at makes it.
    entities: slice.entities
      ? [
          entity(principal, groups),
          entity(resource, collections),
          entity({ type: 'Action', id: action }, [{ type: 'Action', id: parentOf(action) }]),
        ]
      : [],
  })
  const verdict = verdictOf(slice, answer)
  answers.set(key, verdict)
  const [oldest] = answers.keys()
  if (answers.size > mostAnswers && oldest !== undefined) answers.delete(oldest)
  return verdict
}

function verdictOf(slice: Slice, answer: ReturnType<typeof statefulIsAuthorized>): Verdict {
  if (answer.type === 'failure') return refused(answer.errors.map(({ message }) => message).join('; '))
  const { decision, diagnostics } = answer.response
  const [problem] = diagnostics.errors
  // Cedar skips a forbid that errs and would then allow: an error anywhere is a no.
  if (problem !== undefined) return refused(`${problem.policyId}: ${problem.error.message}`)
  const policies = diagnostics.reason.map((id) => slice.policies.get(id))
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
