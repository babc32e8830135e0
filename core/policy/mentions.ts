import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'
import { type ClaimName, isClaimName } from '#core/trust/claims.ts'
import type { KnownClaim } from '#core/trust/trust-context.ts'

/** What the outcome of a policy's conditions can depend on beside its own constants. */
export interface Mentions {
  /** By path, such as `endpoint.diskEncryption.value`. */
  readonly attributes: ReadonlyMap<string, ClaimAttribute>
  /** `Type::id` of every entity that is named. */
  readonly entities: ReadonlySet<string>
  /** The conditions look at the principal, the action or the resource. */
  readonly asksWho: boolean
  /** The context is used otherwise than by naming an attribute of a claim, or the mode of a right. */
  readonly wholeContext: boolean
  /** A number lies beyond 2^53, where Cedar's JSON form is no longer exact. */
  readonly inexact: boolean
}

export interface ClaimAttribute {
  readonly claim: ClaimName
  readonly attribute: keyof KnownClaim
}

/** `Type::id`, the key of an entity. */
export function entityKey({ type, id }: { readonly type: string; readonly id: string }): string {
  return `${type}::${id}`
}

/**
 * Collects what a policy's conditions mention.
 *
 * @param conditions of Cedar's JSON form of one policy
 */
export function mentionsOf(conditions: PolicyJson['conditions']): Mentions {
  const attributes = new Map<string, ClaimAttribute>()
  const entities = new Set<string>()
  let asksWho = false
  let wholeContext = false
  let inexact = false
  const pending: unknown[] = [conditions]
  while (pending.length > 0) {
    const node = pending.pop()
    inexact ||= typeof node === 'bigint' || (typeof node === 'number' && !Number.isSafeInteger(node))
    if (!isObject(node)) continue
    const path = contextPath(node)
    const named = path && claimAttribute(path)
    if (path && named) attributes.set(path.join('.'), named)
    else if (path) wholeContext ||= path.join('.') !== 'mode'
    else {
      const { Var: variable, type, id } = node
      asksWho ||= typeof variable === 'string'
      if (typeof type === 'string' && typeof id === 'string') entities.add(entityKey({ type, id }))
      pending.push(...Object.values(node))
    }
  }
  return { attributes, entities, asksWho, wholeContext, inexact }
}

/**
 * Rewrites a policy for requests that its scope is known to match and whose context is flat: the scope is left out,
 * `context.endpoint.antivirus.value` becomes `context["endpoint.antivirus.value"]`. It means the same and Cedar
 * takes a third of the time, most of which goes into reading nested records and entities.
 */
export function flatPolicy({ effect, conditions }: PolicyJson): PolicyJson {
  const anything = { op: 'All' } as const
  return {
    effect,
    principal: anything,
    action: anything,
    resource: anything,
    conditions: flatten(conditions) as PolicyJson['conditions'],
  }
}

function flatten(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(flatten)
  if (!isObject(node)) return node
  const path = contextPath(node)
  if (path) return { '.': { left: { Var: 'context' }, attr: path.join('.') } }
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, flatten(value)]))
}

/** @returns `['endpoint', 'antivirus', 'value']` for `context.endpoint.antivirus.value`; undefined when not of the context */
function contextPath(node: Record<string, unknown>): readonly string[] | undefined {
  const path: string[] = []
  let at: unknown = node
  while (isObject(at)) {
    if (at['Var'] === 'context') return path.toReversed()
    const access = at['.']
    if (!isObject(access) || typeof access['attr'] !== 'string') return undefined
    path.push(access['attr'])
    at = access['left']
  }
  return undefined
}

function claimAttribute([subject, name, attribute, ...more]: readonly string[]): ClaimAttribute | undefined {
  const claim = `${subject}.${name}`
  if (!isClaimName(claim) || more.length > 0) return undefined
  return attribute === 'value' || attribute === 'source' || attribute === 'ageSec'
    ? { claim, attribute }
    : undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
