import { preparsePolicySet, preparseSchema, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Claim,
  type ClaimName,
  claimNames,
  claimVocabulary,
  type DeliveryMode,
  deliveryModes,
  rights,
  type TrustContext,
  trustContext,
} from '#core/trust/index.ts'
import { compilePolicy } from './compile.ts'
import { type Decision, decide, type Unavailable } from './decide.ts'
import { ask } from './evaluate.ts'
import { isRight, parentOf, policyActions, policySchema } from './schema.ts'

const now = 1_800_000_000_000

function contextOf(
  values: Partial<Record<ClaimName, string>> = {},
  groups = ['staff'],
  id = 'nora',
): TrustContext {
  const { 'network.zone': kind = 'inside', ...rest } = values
  const claims = Object.entries(rest).map(
    ([name, value]): Claim => ({ name, value, source: 'corroborated', observedAt: now }),
  )
  const zone = { name: 'here', kind: kind as 'inside' | 'outside' | 'hostile' }
  return trustContext({ person: { id, groups }, claims, zone, now })
}

function decided(
  text: string,
  context: TrustContext = contextOf(),
  available: (mode: DeliveryMode) => Unavailable | undefined = () => undefined,
): Decision {
  const workspace = { id: 'desk', modes: ['local-vm', 'hosted-shared'] as const, collections: ['ward'] }
  return decide(compilePolicy(text), { context, workspace, available })
}

const allowAll = '@id("all") permit (principal, action, resource);'

test('the first permitted mode that can be delivered wins, and what comes before it says why not', () => {
  const text = `
    @id("hosted") permit (principal, action in Action::"data:datacenter", resource);
    @id("type") permit (principal, action == Action::"input", resource);
    @id("no-local") @reason("Data stays in the house") forbid (principal, action in Action::"data:endpoint", resource);`
  const { outcome, refused, policyDigest, contextDigest } = decided(text)
  expect(outcome).toMatchObject({
    mode: 'hosted-shared',
    place: 'datacenter',
    rights: ['input'],
    policies: ['hosted', 'type'],
  })
  expect(outcome?.restrictions.map(({ right }) => right)).toEqual(['clipboard-in', 'clipboard-out'])
  expect(refused).toEqual([
    {
      mode: 'local-vm',
      place: 'endpoint',
      code: 'POLICY_FORBIDS',
      deliverable: true,
      reason: 'Data stays in the house',
      policies: ['no-local'],
      unlocks: [],
    },
  ])
  expect(policyDigest).toMatch(/^[0-9a-f]{64}$/)
  expect(contextDigest).toMatch(/^[0-9a-f]{64}$/)
})

test('without any policy everything is refused', () => {
  expect(decided('')).toMatchObject({
    outcome: undefined,
    refused: [{ code: 'POLICY_NO_PERMIT' }, { code: 'POLICY_NO_PERMIT' }],
  })
})

/** Why a local VM is refused with the antivirus off, where a condition must hold. */
function reasonOf(condition: string): string | undefined {
  const text = `@id("vm") permit (principal, action == Action::"local-vm", resource) when { ${condition} };`
  return decided(text, contextOf({ 'endpoint.antivirus': 'off' })).refused[0]?.reason
}

test('a refusal names what stands in the way where that is short, and one way out', () => {
  const reason = 'No rule allows a virtual machine on this device for you here'
  const [antivirus, zone] = [
    'context.endpoint.antivirus.value == "on"',
    'context.network.zone.value == "outside"',
  ]
  const firewall = 'context.endpoint.firewall.value == "on"'
  const updates = 'context.endpoint.osUpdates.value == "current"'
  expect(reasonOf(antivirus)).toBe(`${reason} (Antivirus: off)`)
  expect(reasonOf(`${antivirus} && ${firewall}`)).toBe(`${reason} (Antivirus: off, Firewall: unknown)`)
  expect(reasonOf(`${antivirus} && ${firewall} && ${updates}`)).toBe(reason)
  expect(reasonOf(`${antivirus} || ${firewall}`)).toBe(reason)
  expect(reasonOf(zone)).toBe(reason)
})

test('a permitted mode that nobody delivers says so, and that the policy would allow it', () => {
  const { outcome, refused } = decided(allowAll, contextOf(), (mode) =>
    mode === 'local-vm' ? { code: 'NO_DELIVERER', reason: 'This site cannot deliver this yet' } : undefined,
  )
  expect(outcome?.mode).toBe('hosted-shared')
  expect(refused[0]).toMatchObject({
    code: 'NO_DELIVERER',
    reason: 'The policy allows this. This site cannot deliver this yet',
    policies: ['all'],
    unlocks: [],
  })
})

test('of each obligation the strictest wins, the default where nobody sets it', () => {
  const { outcome } = decided(`
    @id("a") @sessionMinutes("60") @clipboardMaxBytes("1048576") permit (principal, action in Action::"data:endpoint", resource);
    @id("b") @sessionMinutes("600") @watermark("false") permit (principal, action == Action::"local-vm", resource);
    @id("c") @watermark("true") permit (principal, action == Action::"input", resource);
    @id("d") @idleMinutes("1") permit (principal, action == Action::"clipboard-in", resource) when { context.mode == "hosted-shared" };`)
  expect(outcome?.obligations).toEqual({
    clipboardMaxBytes: 1_048_576,
    watermark: true,
    sessionMinutes: 60,
    idleMinutes: 30,
    disconnectMinutes: 120,
    leaseMinutes: 15,
    overlay: 'discard',
  })
})

test.each([
  ['a product', '9007199254740991 * (context.endpoint.firewall.ageSec + 9007199254740991) > 0'],
  ['a sum of products', '9007199254740991 * 1024 + context.endpoint.firewall.ageSec + 9007199254740991 > 0'],
])('I6: a forbid that fails because %s overflows permits nothing', (_, condition) => {
  const text = `${allowAll} @id("broken") forbid (principal, action, resource) when { ${condition} };`
  const { outcome, refused } = decided(text, contextOf({ 'endpoint.firewall': 'on' }))
  expect(outcome).toBeUndefined()
  expect(refused.map(({ code, unlocks }) => [code, unlocks])).toEqual([
    ['POLICY_ERROR', []],
    ['POLICY_ERROR', []],
  ])
})

test('I6: a right whose policy fails is withheld', () => {
  const text = `${allowAll} @id("broken") forbid (principal, action == Action::"clipboard-out", resource)
    when { 9007199254740991 * (context.endpoint.firewall.ageSec + 9007199254740991) > 0 };`
  const { outcome } = decided(text)
  expect(outcome?.rights).toEqual(['input', 'clipboard-in'])
  expect(outcome?.restrictions).toMatchObject([{ right: 'clipboard-out', policies: [], unlocks: [] }])
})

test.each<[string, (claims: Record<string, unknown>) => void]>([
  ['missing', (claims) => delete claims['endpoint.antivirus']],
  ['of another type', (claims) => (claims['endpoint.antivirus'] = 'on')],
  [
    'of an unknown value',
    (claims) => (claims['endpoint.antivirus'] = { value: 'yes', source: 'self', ageSec: 0 }),
  ],
  [
    'of an unknown source',
    (claims) => (claims['endpoint.antivirus'] = { value: 'on', source: 'me', ageSec: 0 }),
  ],
  [
    'of no whole age',
    (claims) => (claims['endpoint.antivirus'] = { value: 'on', source: 'self', ageSec: 0.5 }),
  ],
  [
    'older than numbers go',
    (claims) => (claims['endpoint.antivirus'] = { value: 'on', source: 'self', ageSec: 2 ** 53 }),
  ],
])(
  'I6: with a claim that is %s everything is refused, even by a policy that does not look at it',
  (_, spoil) => {
    const context = contextOf()
    const claims = { ...context.claims }
    spoil(claims)
    const { outcome, refused } = decided(allowAll, { ...context, claims })
    expect(outcome).toBeUndefined()
    expect(refused[0]?.code).toBe('POLICY_ERROR')
  },
)

const endpointOnly = (conditions: string): string =>
  `@id("p") permit (principal, action in Action::"data:endpoint", resource) when { ${conditions} };`
const unlocksOf = (text: string, context: TrustContext): unknown =>
  decided(text, context).refused[0]?.unlocks.map(({ changes }) =>
    changes.map(({ claim, from, to }) => `${claim}: ${from} → ${to}`),
  )

test('an unlock names the smallest change that the policy would accept, and what to do', () => {
  const text =
    endpointOnly(`context.endpoint.antivirus.value == "on" && context.endpoint.diskEncryption.value == "on" &&
    context.endpoint.diskEncryption.source != "self"`)
  const { refused } = decided(
    text,
    contextOf({ 'endpoint.antivirus': 'on', 'endpoint.diskEncryption': 'off' }),
  )
  expect(refused[0]?.unlocks).toEqual([
    {
      changes: [
        {
          claim: 'endpoint.diskEncryption',
          from: 'off',
          to: 'on',
          remedy: 'Turn on disk encryption on this device',
        },
      ],
    },
  ])
})

test('several ways of the same size are all told, larger ones are not', () => {
  const text = endpointOnly(`context.network.vpn.value == "yes" || context.network.zone.value == "inside" ||
    (context.endpoint.antivirus.value == "on" && context.endpoint.firewall.value == "on")`)
  expect(unlocksOf(text, contextOf({ 'network.zone': 'hostile' }))).toEqual([
    ['network.zone: hostile → inside'],
    ['network.vpn: unknown → yes'],
  ])
})

test('no more is asked of a person than is needed', () => {
  const text = endpointOnly(
    'context.network.zone.value != "hostile" && context.person.signIn.value != "unknown"',
  )
  expect(unlocksOf(text, contextOf({ 'network.zone': 'hostile' }))).toEqual([
    ['network.zone: hostile → outside', 'person.signIn: unknown → password'],
  ])
})

test('what a person cannot change, or the policy would still refuse, is no unlock', () => {
  expect(unlocksOf(endpointOnly('context.endpoint.machine.value == "physical"'), contextOf())).toEqual([])
  expect(unlocksOf(endpointOnly('context.endpoint.secureBoot.value == "never"'), contextOf())).toEqual([])
  expect(unlocksOf(endpointOnly('context.endpoint.antivirus.source == "attested"'), contextOf())).toEqual([])
  expect(unlocksOf(endpointOnly('principal in Group::"admins"'), contextOf())).toEqual([])
})

const changeable = claimNames.filter((name) => claimVocabulary[name].remedy !== undefined)
const best = (name: ClaimName): string => claimVocabulary[name].values.at(-1) ?? ''

test('for policies in which better claims never hurt, unlocks are exactly the smallest sets', () => {
  const clause = fc.subarray(changeable.slice(0, 5), { minLength: 1, maxLength: 4 })
  const properties = fc.property(fc.array(clause, { minLength: 1, maxLength: 4 }), (clauses) => {
    const text = clauses
      .map((names, index) => {
        const conditions = names.map((name) => `context.${name}.value == "${best(name)}"`)
        return `@id("p${index}") permit (principal, action == Action::"local-vm", resource) when { ${conditions.join(' && ')} };`
      })
      .join('\n')
    const [refusal] = decided(text).refused
    const smallest = Math.min(...clauses.map((names) => names.length))
    const expected = new Set(
      clauses.filter((names) => names.length === smallest).map((names) => names.toSorted().join()),
    )
    const found =
      refusal?.unlocks.map(({ changes }) =>
        changes
          .map(({ claim }) => claim)
          .toSorted()
          .join(),
      ) ?? []
    expect(found.length).toBe(Math.min(3, expected.size))
    for (const one of found) expect(expected).toContain(one)
  })
  fc.assert(properties, { numRuns: 40 })
})

test('a search that would ask too much still finds a way that works', () => {
  const pairs = changeable.flatMap((a, index) => changeable.slice(index + 1).map((b) => [a, b] as const))
  const half = Math.floor(changeable.length / 2)
  const blocked = changeable.slice(0, half).map((name) => `context.${name}.value == "${best(name)}"`)
  const text = `@id("p") permit (principal, action == Action::"local-vm", resource)
    when { [${changeable.map((name) => `context.${name}.value`).join(', ')}].containsAny(["nothing"]) ||
      (${blocked.slice(0, 6).join(' && ')}) || (${changeable
        .slice(half)
        .map((name) => `context.${name}.value == "${best(name)}"`)
        .slice(0, 6)
        .join(' && ')}) };`
  expect(pairs.length).toBeGreaterThan(64)
  const { refused } = decided(text, contextOf({ 'network.zone': 'hostile' }))
  expect(refused[0]?.unlocks).toHaveLength(1)
})

const claimValue = fc
  .constantFrom(...claimNames)
  .chain((name) =>
    fc.constantFrom(...claimVocabulary[name].values).map((value) => `context.${name}.value == "${value}"`),
  )
const condition = fc.oneof(
  claimValue,
  claimValue.map((one) => `!(${one})`),
  fc.constantFrom(
    'context.endpoint.firewall.ageSec * 9007199254740991 * 9007199254740991 >= 0',
    'context.network.vpn.ageSec * 9007199254740991 * 9007199254740991 >= 0',
    'principal in Group::"b"',
    'principal in [Group::"a", Group::"d"]',
    'principal == Person::"nora"',
    'resource in Collection::"x"',
    'resource == Workspace::"desk"',
    // One alone could never apply under some scopes, which Cedar refuses.
    '(action in Action::"data:endpoint" || context.network.vpn.value == "yes")',
    'context.network.zone.source == "server"',
  ),
)
const scopes = {
  principal: [
    'principal',
    'principal == Person::"nora"',
    'principal == Person::"other"',
    'principal in Group::"a"',
    'principal in Group::"b"',
    'principal is Person',
    'principal is Person in Group::"c"',
  ],
  action: [
    'action',
    'action == Action::"local-vm"',
    'action in [Action::"local-vm", Action::"input"]',
    'action in Action::"data:endpoint"',
    'action in [Action::"data:datacenter", Action::"rights"]',
  ],
  resource: [
    'resource',
    'resource == Workspace::"desk"',
    'resource in Collection::"x"',
    'resource in Workspace::"desk"',
    'resource is Workspace in Collection::"y"',
  ],
}
const policyBody = fc.record({
  effect: fc.constantFrom('permit', 'permit', 'forbid'),
  principal: fc.constantFrom(...scopes.principal),
  action: fc.constantFrom(...scopes.action),
  resource: fc.constantFrom(...scopes.resource),
  conditions: fc.array(condition, { maxLength: 3 }),
})

const anyValues = fc
  .array(
    fc
      .constantFrom(...claimNames.filter((name) => name !== 'network.zone'))
      .chain((name) => fc.tuple(fc.constant(name), fc.constantFrom(...claimVocabulary[name].values))),
  )
  .map((pairs) => Object.fromEntries(pairs) as Partial<Record<ClaimName, string>>)
const anyRequest = fc.record({
  id: fc.constantFrom('nora', 'carl'),
  values: anyValues,
  zone: fc.constantFrom('inside', 'outside', 'hostile'),
  groups: fc.subarray(['a', 'b', 'c', 'd']),
  collections: fc.subarray(['x', 'y', 'z']),
  action: fc.constantFrom(...policyActions),
})
type AnyRequest = typeof anyRequest extends fc.Arbitrary<infer T> ? T : never

/** Asks Cedar itself, with every policy, the schema and the whole context. */
function askPlainCedar({ id, values, zone, groups, collections, action }: AnyRequest): {
  readonly allowed: boolean
  readonly failed: boolean
  readonly policies: readonly string[]
} {
  const { claims } = contextOf({ ...values, 'network.zone': zone })
  const answer = statefulIsAuthorized({
    principal: { type: 'Person', id },
    action: { type: 'Action', id: action },
    resource: { type: 'Workspace', id: 'desk' },
    context: { ...nested(claims), ...(isRight(action) ? { mode: 'hosted-vm' } : {}) },
    preparsedSchemaName: 'plain',
    validateRequest: true,
    preparsedPolicySetId: 'plain',
    entities: [
      { uid: { type: 'Person', id }, attrs: {}, parents: uids('Group', groups) },
      { uid: { type: 'Workspace', id: 'desk' }, attrs: {}, parents: uids('Collection', collections) },
    ],
  })
  if (answer.type === 'failure') throw new Error(JSON.stringify(answer.errors))
  const { decision, diagnostics } = answer.response
  return {
    allowed: decision === 'allow',
    failed: diagnostics.errors.length > 0,
    policies: diagnostics.reason.toSorted(),
  }
}

test('a slice decides as plain Cedar does with the whole set and the schema, failures apart', {
  timeout: 30_000,
}, () => {
  preparseSchema('plain', policySchema)
  const seen = { allowed: 0, denied: 0, failed: 0 }
  const property = fc.property(
    fc.array(policyBody, { minLength: 1, maxLength: 12 }),
    fc.array(anyRequest, { minLength: 15, maxLength: 15 }),
    (bodies, requests) => {
      const texts = bodies.map(({ effect, principal, action, resource, conditions }, index) => {
        const when = conditions.length > 0 ? ` when { ${conditions.join(' && ')} }` : ''
        return `@id("p${index}") ${effect} (${principal}, ${action}, ${resource})${when};`
      })
      const policy = compilePolicy(texts.join('\n'))
      preparsePolicySet('plain', {
        staticPolicies: Object.fromEntries(texts.map((text, index) => [`p${index}`, text] as const)),
      })
      for (const request of requests) {
        const { id, values, zone, groups, collections, action } = request
        const { person, claims } = contextOf({ ...values, 'network.zone': zone }, groups, id)
        const target = { id: 'desk', collections }
        const ours = ask(policy, { person, claims, target, action, mode: 'hosted-vm' })
        const plain = askPlainCedar(request)
        expect(ours.error !== undefined).toBe(plain.failed)
        expect(ours.allowed).toBe(plain.allowed && !plain.failed)
        if (!plain.failed) expect(ours.policies.map(({ id }) => id)).toEqual(plain.policies)
        seen[plain.failed ? 'failed' : plain.allowed ? 'allowed' : 'denied'] += 1
      }
    },
  )
  fc.assert(property, { numRuns: 40 })
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0)
})

function uids(type: string, ids: readonly string[]): { type: string; id: string }[] {
  return ids.map((id) => ({ type, id }))
}

function nested(
  claims: TrustContext['claims'],
): Record<string, Record<string, { value: string; source: string; ageSec: number }>> {
  const records: Record<string, Record<string, { value: string; source: string; ageSec: number }>> = {}
  for (const name of claimNames) {
    const [subject = '', claim = ''] = name.split('.')
    records[subject] = { ...records[subject], [claim]: { ...claims[name] } }
  }
  return records
}

test('more slices than are kept at once are decided alike, again and again', { timeout: 30_000 }, () => {
  const texts = Array.from(
    { length: 300 },
    (_, index) =>
      `@id("p${index}") permit (principal in Group::"g${index}", action == Action::"local-vm", resource);`,
  )
  const drafts = Array.from({ length: 15 }, (_, index) =>
    compilePolicy(
      `${texts.join('\n')} @id("draft-${index}") permit (principal == Person::"x", action, resource);`,
    ),
  )
  const { claims } = contextOf()
  for (const policy of [...drafts, ...drafts.slice(0, 2)])
    for (let group = 0; group < 300; group++) {
      const person = { id: 'nora', groups: [`g${group}`] }
      const target = { id: 'desk', collections: [] }
      const { policies } = ask(policy, { person, claims, target, action: 'local-vm', mode: 'local-vm' })
      if (policies[0]?.id !== `p${group}`) throw new Error(`group ${group} got ${policies[0]?.id}`)
    }
})

const digest = (context: TrustContext): string => decided(allowAll, context).contextDigest

test('the digest of a context depends on everything that the decision knew, and on no order', () => {
  const base = contextOf({ 'endpoint.antivirus': 'on' }, ['a', 'b'])
  expect(digest(contextOf({ 'endpoint.antivirus': 'on' }, ['b', 'a']))).toBe(digest(base))
  expect(digest(contextOf({ 'endpoint.antivirus': 'off' }, ['a', 'b']))).not.toBe(digest(base))
  expect(digest(contextOf({ 'endpoint.antivirus': 'on', 'network.zone': 'outside' }, ['a', 'b']))).not.toBe(
    digest(base),
  )
  expect(digest(contextOf({ 'endpoint.antivirus': 'on' }, ['a']))).not.toBe(digest(base))
})

test('every mode and right can be decided', () => {
  const { person, claims } = contextOf()
  const policy = compilePolicy(allowAll)
  for (const action of [...deliveryModes, ...rights])
    expect(
      ask(policy, { person, claims, target: { id: 'w', collections: [] }, action, mode: 'local-vm' }).allowed,
    ).toBe(true)
  expect(parentOf('network-boot')).toBe('data:endpoint')
})
