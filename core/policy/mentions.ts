import { type ClaimName, isClaimName } from '#core/trust/claims.ts'

/** What the outcome of a policy can depend on beside its own constants. */
export interface Mentions {
  readonly claims: ReadonlySet<ClaimName>
  /** `Type::id` of every entity that is named. */
  readonly entities: ReadonlySet<string>
  /** The context is used otherwise than by naming one claim, or the mode of a right. */
  readonly wholeContext: boolean
}

/** `Type::id`, the key of an entity. */
export function entityKey({ type, id }: { readonly type: string; readonly id: string }): string {
  return `${type}::${id}`
}

/**
 * Collects what a policy mentions.
 *
 * @param policy Cedar's JSON form of one policy
 */
export function mentionsOf(policy: unknown): Mentions {
  const claims = new Set<ClaimName>()
  const entities = new Set<string>()
  let wholeContext = false
  const pending: unknown[] = [policy]
  while (pending.length > 0) {
    const node = pending.pop()
    if (!isObject(node)) continue
    const path = contextPath(node)
    const name = path?.slice(0, 2).join('.')
    if (name !== undefined && isClaimName(name)) claims.add(name)
    else if (path?.[0] === 'mode') continue
    else if (path) wholeContext = true
    else {
      if (typeof node['type'] === 'string' && typeof node['id'] === 'string')
        entities.add(entityKey({ type: node['type'], id: node['id'] }))
      pending.push(...Object.values(node))
    }
  }
  return { claims, entities, wholeContext }
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

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
