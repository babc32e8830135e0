import { type PolicyJson, preparsePolicySet } from '@cedar-policy/cedar-wasm/nodejs'
import { type ClaimName, claimNames } from '#core/trust/claims.ts'
import type { CompiledPolicy, Policy } from './compile.ts'
import type { Mentions } from './mentions.ts'
import type { ScopedPolicies } from './scope.ts'

/** The policies of one scope, parsed inside Cedar. */
export interface Slice {
  readonly policies: ReadonlyMap<string, Policy>
  /** What of the claims the answer can depend on. */
  readonly attributes: Mentions['attributes']
  /** The same, as claims in the order of the vocabulary. */
  readonly claims: readonly ClaimName[]
  /** Keys of the entities that the answer can depend on; undefined when it depends on none beyond the scope. */
  readonly entities: ReadonlySet<string> | undefined
  /** Name of the parsed set inside Cedar, good until another slice is asked for. */
  readonly cedarId: string
  /** No other slice ever has it. */
  readonly serial: number
}

/** Cedar never forgets a parsed set, it only overwrites: so names are used again and both of these are bounded. */
const maxSlices = 4096
const maxParsedPolicies = 20_000

/**
 * Least recently used first. Module state because Cedar's is: parsed sets have global names in the thread.
 * Only a memo: what a key stands for never changes.
 */
const slices = new Map<string, Slice>()
let parsedPolicies = 0
let namesGiven = 0
let slicesMade = 0
const freeNames: string[] = []

/** @returns undefined when Cedar does not parse them */
export function sliceFor({ digest }: CompiledPolicy, { key, policies }: ScopedPolicies): Slice | undefined {
  const fullKey = `${digest} ${key}`
  const slice = slices.get(fullKey) ?? parseSlice(policies)
  if (slice === undefined) return undefined
  // The last used stands last.
  slices.delete(fullKey)
  slices.set(fullKey, slice)
  return slice
}

function parseSlice(policies: readonly Policy[]): Slice | undefined {
  makeRoomFor(policies.length)
  const cedarId = freeNames.pop() ?? `slice-${namesGiven++}`
  const staticPolicies: Record<string, PolicyJson> = Object.fromEntries(
    policies.map(({ id, flat }) => [id, flat]),
  )
  if (preparsePolicySet(cedarId, { staticPolicies }).type === 'failure') {
    freeNames.push(cedarId)
    return undefined
  }
  parsedPolicies += policies.length
  const mentions = policies.map((policy) => policy.mentions)
  const attributes = new Map(mentions.flatMap((one) => [...one.attributes]))
  const mentioned = new Set([...attributes.values()].map(({ claim }) => claim))
  return {
    policies: new Map(policies.map((policy) => [policy.id, policy])),
    attributes,
    claims: claimNames.filter((name) => mentioned.has(name)),
    entities: mentions.some(({ asksWho }) => asksWho)
      ? new Set(mentions.flatMap((one) => [...one.entities]))
      : undefined,
    cedarId,
    serial: slicesMade++,
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
