/**
 * How long a decision takes over 1,000 policies, beside plain Cedar in the same run.
 *
 * The policies: group × mode × collection, each with conditions on the endpoint and the network, a quarter of them
 * forbids. Plain Cedar gets the same set, parsed beforehand, and the whole context. Prints one JSON line a case.
 */
import { preparsePolicySet, preparseSchema, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs'
import { compilePolicy, decide, policySchema } from '#core/policy/index.ts'
import {
  type Claim,
  claimNames,
  deliveryModes,
  placeOf,
  type TrustContext,
  trustContext,
} from '#core/trust/index.ts'

const count = 1000
const groups = 20
const collections = 8
const now = Date.now()

const texts = Array.from({ length: count }, (_, index) => {
  const mode = deliveryModes[index % 6]
  const group = Math.floor(index / 6) % groups
  const collection = Math.floor(index / (6 * groups)) % collections
  const forbids = index % 4 === 3
  const conditions = forbids
    ? 'context.network.interception.value == "detected" || context.endpoint.debugger.value == "attached"'
    : `context.endpoint.management.value == "managed" && context.endpoint.diskEncryption.value == "on" &&
       context.endpoint.osUpdates.value == "current" && context.endpoint.antivirus.value == "on" &&
       context.endpoint.firewall.ageSec < 90 && context.network.zone.value == "inside"`
  return `@id("p${index}") ${forbids ? 'forbid' : 'permit'} (principal in Group::"g${group}",
    action == Action::"${mode}", resource in Collection::"c${collection}") when { ${conditions} };`
})
const rightsText = '@id("work") permit (principal, action in Action::"rights", resource);'
const policyText = [...texts, rightsText].join('\n')

const started = performance.now()
const policy = compilePolicy(policyText)
print({ name: `compile ${count} policies`, ms: round(performance.now() - started) })

const healthy: readonly (readonly [string, string])[] = [
  ['endpoint.management', 'managed'],
  ['endpoint.diskEncryption', 'on'],
  ['endpoint.osUpdates', 'current'],
  ['endpoint.antivirus', 'on'],
  ['endpoint.firewall', 'on'],
]
const workspaces = Array.from({ length: collections }, (_, index) => ({
  id: `w${index}`,
  collections: [`c${index}`, 'everything'],
  modes: deliveryModes,
}))
const people = Array.from({ length: 100 }, (_, index) => ({
  id: `person-${index}`,
  groups: [`g${index % groups}`, `g${(index * 7 + 3) % groups}`, 'staff'],
}))

function contextOf(index: number, isHealthy: boolean): TrustContext {
  const claims: Claim[] = healthy.map(([name, value]) => ({ name, value, source: 'server', observedAt: now }))
  const kind = isHealthy ? 'inside' : 'outside'
  const person = people[index % people.length] ?? { id: 'nobody', groups: [] }
  return trustContext({ person, claims: isHealthy ? claims : [], zone: { name: kind, kind }, now })
}

const healthyContexts = people.map((_, index) => contextOf(index, true))
const unknownContexts = people.map((_, index) => contextOf(index, false))

const ours = measure(4000, (index) => {
  const workspace = { ...workspaces[index % collections]!, modes: [deliveryModes[index % 6]!] }
  // Unavailable at once: one question to the policy, no rights.
  decide(policy, {
    context: healthyContexts[index % people.length]!,
    workspace,
    available: () => ({ code: 'NO_CAPACITY', reason: '' }),
  })
})

preparseSchema('plain', policySchema)
preparsePolicySet('plain', { staticPolicies: policyText })
const plain = measure(300, (index) => {
  const { person, claims } = healthyContexts[index % people.length]!
  const context: Record<string, Record<string, { value: string; source: string; ageSec: number }>> = {}
  for (const name of claimNames) {
    const [subject = '', claim = ''] = name.split('.')
    context[subject] = { ...context[subject], [claim]: { ...claims[name] } }
  }
  const mode = deliveryModes[index % 6]!
  const workspace = workspaces[index % collections]!
  statefulIsAuthorized({
    principal: uid('Person', person.id),
    action: uid('Action', mode),
    resource: uid('Workspace', workspace.id),
    context,
    preparsedPolicySetId: 'plain',
    entities: [
      { uid: uid('Person', person.id), attrs: {}, parents: person.groups.map((id) => uid('Group', id)) },
      {
        uid: uid('Workspace', workspace.id),
        attrs: {},
        parents: workspace.collections.map((id) => uid('Collection', id)),
      },
      { uid: uid('Action', mode), attrs: {}, parents: [uid('Action', `data:${placeOf[mode]}`)] },
    ],
  })
})

print({ name: `decision, ${count} policies`, ...ours, target: 'p50 ≤ 0.15, p99 ≤ 0.5' })
print({ name: `plain statefulIsAuthorized, ${count} policies`, ...plain })
print({ name: 'plain ÷ ours', ratioP50: round(plain.p50Ms / ours.p50Ms), target: '≥ 10' })

const launch = measure(1000, (index) => {
  const workspace = workspaces[index % collections]!
  decide(policy, { context: unknownContexts[index % people.length]!, workspace, available: () => undefined })
})
print({ name: 'launch, six modes refused, with unlocks', ...launch, target: 'p50 ≤ 5' })

function uid(type: string, id: string): { type: string; id: string } {
  return { type, id }
}

/** Runs a case often enough to be warm, then takes the times. */
function measure(runs: number, run: (index: number) => void): { p50Ms: number; p99Ms: number } {
  for (let index = 0; index < runs / 4; index++) run(index)
  const times = Array.from({ length: runs }, (_, index) => {
    const from = performance.now()
    run(index)
    return performance.now() - from
  }).toSorted((a, b) => a - b)
  const at = (share: number): number => round(times[Math.floor(runs * share)] ?? Number.NaN)
  return { p50Ms: at(0.5), p99Ms: at(0.99) }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
