import { hash } from 'node:crypto'
import {
  type DetailedError,
  type PolicyJson,
  policySetTextToParts,
  policyToJson,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs'
import type { Obligations } from '#core/trust/words.ts'
import { flatPolicy, type Mentions, mentionsOf } from './mentions.ts'
import { findTooDeep, maxNesting } from './nesting.ts'
import { isObligation, parseObligation } from './obligations.ts'
import { PolicyError, positionOf, positionOfByte } from './policy-error.ts'
import { policySchema } from './schema.ts'
import { indexByScope, type ScopeIndex } from './scope.ts'

/** One policy of a policy text. */
export interface Policy {
  /** From `@id`. */
  readonly id: string
  readonly json: PolicyJson
  /** `json` as `flatPolicy` rewrites it, which is what decisions evaluate. */
  readonly flat: PolicyJson
  /** From `@reason`: why a forbid forbids, one sentence for people. */
  readonly reason: string | undefined
  readonly obligations: Partial<Obligations>
  readonly mentions: Mentions
}

/** A policy text that parsed and validated; made only by `compilePolicy`. */
export interface CompiledPolicy {
  /** SHA-256, hex, of what the policies and the schema mean: order, spacing and comments do not count. */
  readonly digest: string
  readonly policies: ReadonlyMap<string, Policy>
  readonly index: ScopeIndex
}

export const maxPolicyBytes: number = 1024 * 1024
const maxOnePolicyLength = 8192
const maxReasonLength = 300

/**
 * Compiles a Cedar policy text.
 *
 * Each policy needs an `@id`. A forbid may say `@reason`, a permit may set obligations. Anything else that the
 * schema, the vocabulary or this list does not know is refused (I6).
 *
 * @throws {PolicyError} the first problem with its line and column
 */
export function compilePolicy(text: string): CompiledPolicy {
  checkSize(text)
  const parts = splitPolicies(text)
  checkAgainstSchema(text, parts)
  const policies = new Map<string, Policy>()
  for (const part of parts) {
    const policy = readPolicy(text, part)
    if (policies.has(policy.id))
      throw annotationError('POLICY_ID', `two policies have the id ${policy.id}`, text, part, 'id')
    policies.set(policy.id, policy)
  }
  return { digest: digestOf(policies), policies, index: indexByScope([...policies.values()]) }
}

/** What Cedar must not even be shown. */
function checkSize(text: string): void {
  if (new TextEncoder().encode(text).length > maxPolicyBytes)
    throw new PolicyError(
      'POLICY_TOO_LARGE',
      `expected at most ${maxPolicyBytes} bytes`,
      positionOf(text, 0),
      {
        remedy: 'Merge policies that differ only in a group or workspace: the scope can name collections.',
      },
    )
  const tooDeep = findTooDeep(text)
  if (tooDeep !== undefined)
    throw new PolicyError('POLICY_TOO_DEEP', `nested deeper than ${maxNesting}`, positionOf(text, tooDeep), {
      remedy: 'Say the same with fewer brackets, or split the policy in two.',
    })
}

interface Part {
  readonly text: string
  readonly start: number
}

/** Splits a text into its policies, in the order of the text. */
function splitPolicies(text: string): readonly Part[] {
  const answer = policySetTextToParts(text)
  if (answer.type === 'failure') throw cedarError('POLICY_SYNTAX', text, answer.errors[0])
  const [template] = answer.policy_templates
  if (template !== undefined)
    throw new PolicyError(
      'POLICY_SYNTAX',
      'templates are not used here',
      positionOf(text, text.indexOf(template)),
      {
        remedy: 'Name the principal and the resource instead of ?principal and ?resource.',
      },
    )
  // Cedar sorts parts as text by the names it gave them: policy0, policy1, policy10, policy11, policy2, …
  const order = answer.policies.map((_, index) => `policy${index}`).toSorted()
  const sorted = answer.policies.map((part, index) => ({ part, number: Number(order[index]?.slice(6)) }))
  let end = 0
  return sorted
    .toSorted((a, b) => a.number - b.number)
    .map(({ part }) => {
      const start = text.indexOf(part, end)
      end = start + part.length
      if (part.length <= maxOnePolicyLength) return { text: part, start }
      throw new PolicyError(
        'POLICY_TOO_LARGE',
        `expected at most ${maxOnePolicyLength} characters in one policy`,
        positionOf(text, start),
        { remedy: 'Split the policy in two.' },
      )
    })
}

/** So many policies are validated at once: what Cedar has to say of what is wrong takes it the square of their number. */
const validatedAtOnce = 100

function checkAgainstSchema(text: string, parts: readonly Part[]): void {
  for (let first = 0; first < parts.length; first += validatedAtOnce) {
    const [from, to] = [parts[first], parts[Math.min(first + validatedAtOnce, parts.length) - 1]]
    if (from !== undefined && to !== undefined) checkSome(text, from.start, to.start + to.text.length)
  }
}

function checkSome(text: string, from: number, to: number): void {
  const answer = validate({
    validationSettings: { mode: 'strict' },
    schema: policySchema,
    policies: { staticPolicies: text.slice(from, to) },
  })
  if (answer.type === 'failure') throw cedarError('POLICY_SYNTAX', text, answer.errors[0], from)
  // A warning is a policy that can never apply or that reads unlike what it says: nobody means that.
  const { validationErrors, validationWarnings, otherWarnings } = answer
  const [first] = [
    ...validationErrors.map(({ error }) => error).toSorted(byStart),
    ...validationWarnings.map(({ error }) => error).toSorted(byStart),
    ...otherWarnings,
  ]
  if (first !== undefined) throw cedarError('POLICY_INVALID', text, first, from)
}

function byStart(a: DetailedError, b: DetailedError): number {
  return (a.sourceLocations?.[0]?.start ?? 0) - (b.sourceLocations?.[0]?.start ?? 0)
}

function readPolicy(text: string, part: Part): Policy {
  const answer = policyToJson(part.text)
  if (answer.type === 'failure') throw cedarError('POLICY_SYNTAX', text, answer.errors[0])
  const { json } = answer
  const { id = '', reason, ...others } = json.annotations ?? {}
  if (!/^[A-Za-z0-9][\w.-]{0,63}$/.test(id))
    throw annotationError(
      'POLICY_ID',
      'expected @id("…") of letters, digits, ".", "_", "-"',
      text,
      part,
      'id',
    )
  if (reason !== undefined && (json.effect === 'permit' || !reason || reason.length > maxReasonLength))
    throw annotationError(
      'POLICY_ANNOTATION',
      `expected @reason only on a forbid, at most ${maxReasonLength} characters`,
      text,
      part,
      'reason',
    )
  const obligations: Partial<Obligations> = Object.entries(others).reduce((all, [name, value]) => {
    if (!isObligation(name) || json.effect === 'forbid')
      throw annotationError(
        'POLICY_ANNOTATION',
        `@${name} means nothing on a ${json.effect}`,
        text,
        part,
        name,
      )
    const parsed = parseObligation(name, value ?? '')
    if ('set' in parsed) return { ...all, ...parsed.set }
    throw annotationError('POLICY_ANNOTATION', `@${name}: expected ${parsed.expects}`, text, part, name)
  }, {})
  const mentions = mentionsOf(json.conditions)
  if (mentions.wholeContext)
    throw annotationError('POLICY_CONTEXT', `policy ${id} uses the context as a whole`, text, part, 'id')
  if (mentions.inexact)
    throw annotationError('POLICY_NUMBER', `policy ${id} has a number beyond 2^53`, text, part, 'id')
  return { id, json, flat: flatPolicy(json), reason, obligations, mentions }
}

function digestOf(policies: ReadonlyMap<string, Policy>): string {
  const meaning = [...policies.values()]
    .map(({ id, json }) => [id, json] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  return hash('sha256', JSON.stringify([policySchema, meaning]))
}

const remedies = {
  POLICY_ID: 'Give every policy an @id of its own: decisions and the audit log name it.',
  POLICY_ANNOTATION:
    'Known are @id, on a forbid @reason, on a permit @clipboardMaxBytes, @watermark, @sessionMinutes, @idleMinutes, @disconnectMinutes, @leaseMinutes and @overlay.',
  POLICY_NUMBER: 'Use numbers between -9007199254740991 and 9007199254740991.',
  POLICY_CONTEXT:
    'Name the attribute, such as context.endpoint.diskEncryption.value; every claim is always there.',
} as const

function annotationError(
  code: keyof typeof remedies,
  problem: string,
  text: string,
  part: Part,
  annotation: string,
): PolicyError {
  const inside = Math.max(0, part.text.search(new RegExp(`@\\s*${annotation}\\b`)))
  return new PolicyError(code, problem, positionOf(text, part.start + inside), { remedy: remedies[code] })
}

function cedarError(
  code: 'POLICY_SYNTAX' | 'POLICY_INVALID',
  text: string,
  error: DetailedError | undefined,
  /** Where in the text begins what Cedar was shown. */
  from = 0,
): PolicyError {
  const [at] = error?.sourceLocations ?? []
  const problem = withoutNumber(error?.message ?? 'not a Cedar policy')
  const expected = at?.label ? ` (${at.label})` : ''
  return new PolicyError(code, problem + expected, positionOfByte(text, from, at?.start ?? 0), {
    remedy: withoutNumber(error?.help ?? 'Compare with the default policy and the schema.'),
  })
}

/** Cedar numbers policies; the position says it better. */
function withoutNumber(text: string): string {
  return text.replace(/^for policy `policy\d+`, /, '')
}
