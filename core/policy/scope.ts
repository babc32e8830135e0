import type {
  ActionConstraint,
  PrincipalConstraint,
  ResourceConstraint,
} from '@cedar-policy/cedar-wasm/nodejs'
import type { Policy } from './compile.ts'
import { entityKey } from './mentions.ts'
import { type PolicyAction, parentOf, policyActions } from './schema.ts'

/** Policies by what their scope names: action, then principal or group, then workspace or collection. */
export type ScopeIndex = ReadonlyMap<PolicyAction, ReadonlyMap<string, ReadonlyMap<string, ScopedPolicies>>>

/** Policies that a question is in the scope of all of or of none. */
export interface ScopedPolicies {
  /** By which they are known among those of one policy text; the same under every action that they stand under together. */
  readonly key: number
  readonly policies: readonly Policy[]
}

/** Who wants what, as far as a policy's scope can tell. */
export interface Scope {
  readonly action: PolicyAction
  /** Key of the person and of each of their groups. */
  readonly principals: readonly string[]
  /** Key of the workspace and of each of its collections. */
  readonly resources: readonly string[]
}

/** Indexes policies by their scope. A policy whose scope no request can match is left out. */
export function indexByScope(policies: readonly Policy[]): ScopeIndex {
  const index = new Map<PolicyAction, Map<string, Map<string, Policy[]>>>()
  for (const policy of policies) {
    const principal = scopeKey(policy.json.principal, 'Person')
    const resource = scopeKey(policy.json.resource, 'Workspace')
    if (principal === undefined || resource === undefined) continue
    for (const action of actionsOf(policy.json.action)) {
      const byPrincipal = entryOf(index, action, newMap<string, Map<string, Policy[]>>)
      entryOf(entryOf(byPrincipal, principal, newMap<string, Policy[]>), resource, newList<Policy>).push(
        policy,
      )
    }
  }
  const known = new Map<string, ScopedPolicies>()
  const scoped = (some: readonly Policy[]): ScopedPolicies =>
    entryOf(known, some.map(({ id }) => id).join(), () => ({ key: known.size, policies: some }))
  return mapValues(index, (byPrincipal) =>
    mapValues(byPrincipal, (byResource) => mapValues(byResource, scoped)),
  )
}

/** @returns the policies whose scope matches, scope by scope */
export function policiesInScope(
  index: ScopeIndex,
  { action, principals, resources }: Scope,
): readonly ScopedPolicies[] {
  const byPrincipal = index.get(action)
  const found: ScopedPolicies[] = []
  for (const principal of new Set([anything, ...principals])) {
    const byResource = byPrincipal?.get(principal)
    if (!byResource) continue
    for (const resource of new Set([anything, ...resources])) {
      const policies = byResource.get(resource)
      if (policies) found.push(policies)
    }
  }
  return found
}

/** The groups that a policy text names, in scopes or in conditions, by name. */
export function groupsNamed(policies: Iterable<Pick<Policy, 'json' | 'mentions'>>): readonly string[] {
  const keys = [...policies].flatMap(({ json, mentions }) => [
    scopeKey(json.principal, 'Person') ?? anything,
    ...mentions.entities,
  ])
  const group = entityKey({ type: 'Group', id: '' })
  const named = keys.filter((key) => key.startsWith(group)).map((key) => key.slice(group.length))
  return [...new Set(named)].toSorted()
}

/** Key of a scope that names nobody; no entity's key lacks the colons. */
const anything = '*'

function scopeKey(constraint: PrincipalConstraint | ResourceConstraint, leaf: string): string | undefined {
  if (constraint.op === 'All') return anything
  if (constraint.op === 'is' && constraint.entity_type !== leaf) return undefined
  const within = constraint.op === 'is' ? constraint.in : constraint
  if (!within) return anything
  if (!('entity' in within)) return undefined
  const { entity } = within
  const uid = '__entity' in entity ? entity.__entity : entity
  return constraint.op === '==' && uid.type !== leaf ? undefined : entityKey(uid)
}

function actionsOf(constraint: ActionConstraint): readonly PolicyAction[] {
  if (constraint.op === 'All') return policyActions
  const entities =
    'entities' in constraint ? constraint.entities : 'entity' in constraint ? [constraint.entity] : []
  const ids = entities.map((entity) => ('__entity' in entity ? entity.__entity : entity).id)
  return policyActions.filter(
    (action) => ids.includes(action) || (constraint.op === 'in' && ids.includes(parentOf(action))),
  )
}

function entryOf<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  const present = map.get(key)
  if (present !== undefined) return present
  const created = create()
  map.set(key, created)
  return created
}

function mapValues<K, V, W>(map: ReadonlyMap<K, V>, change: (value: V) => W): Map<K, W> {
  return new Map(Array.from(map, ([key, value]) => [key, change(value)]))
}

function newMap<K, V>(): Map<K, V> {
  return new Map()
}

function newList<T>(): T[] {
  return []
}
