import { preparsePolicySet } from '@cedar-policy/cedar-wasm/nodejs'
import { type ClaimName, claimNames } from '#core/trust/claims.ts'
import type { CompiledPolicy, Policy } from './compile.ts'
import { policiesInScope, type Scope } from './scope.ts'

/** The policies that can matter to a question, parsed inside Cedar. */
export interface Slice {
  readonly policies: ReadonlyMap<string, Policy>
  /** The claims that the answer can depend on. */
  readonly claims: readonly ClaimName[]
  /** Keys of the entities that the answer can depend on. */
  readonly entities: ReadonlySet<string>
  /** Name of the parsed set inside Cedar, good until another slice is asked for. */
  readonly cedarId: string
}

/** Cedar never forgets a parsed set, it only overwrites: so names are used again and both of these are bounded. */
const maxSlices = 256
const maxParsedPolicies = 20_000

/**
 * Least recently used first. Module state because Cedar's is: parsed sets have global names in the thread.
 * Only a memo: what a key stands for never changes.
 */
const slices = new Map<string, Slice>()
let parsedPolicies = 0
let namesGiven = 0
const freeNames: string[] = []

/**
 * The policies in scope of a question. One outside it can neither match nor fail, so the slice answers as the whole
 * set would.
 *
 * @returns undefined when Cedar does not parse them
 */
export function sliceFor({ digest, index }: CompiledPolicy, scope: Scope): Slice | undefined {
  const { key, policies } = policiesInScope(index, scope)
  const fullKey = `${digest} ${key}`
  const slice = slices.get(fullKey) ?? parseSlice(policies())
  if (slice === undefined) return undefined
  // The last used stands last.
  slices.delete(fullKey)
  slices.set(fullKey, slice)
  return slice
}

function parseSlice(policies: readonly Policy[]): Slice | undefined {
  makeRoomFor(policies.length)
  const cedarId = freeNames.pop() ?? `slice-${namesGiven++}`
  const staticPolicies: Record<string, string> = Object.fromEntries(
    policies.map(({ id, text }) => [id, text]),
  )
  if (preparsePolicySet(cedarId, { staticPolicies }).type === 'failure') {
    freeNames.push(cedarId)
    return undefined
  }
  parsedPolicies += policies.length
  const mentioned = new Set(policies.flatMap(({ mentions }) => [...mentions.claims]))
  return {
    policies: new Map(policies.map((policy) => [policy.id, policy])),
    claims: claimNames.filter((name) => mentioned.has(name)),
    entities: new Set(policies.flatMap(({ mentions }) => [...mentions.entities])),
    cedarId,
  }
}

function makeRoomFor(policies: number): void {
  for (const [key, { cedarId, policies: held }] of slices) {
    if (slices.size < maxSlices && parsedPolicies + policies <= maxParsedPolicies) return
    slices.delete(key)
    preparsePolicySet(cedarId, { staticPolicies: {} })
    freeNames.push(cedarId)
    parsedPolicies -= held.size
  }
}
