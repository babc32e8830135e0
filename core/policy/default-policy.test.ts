import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Claim,
  claimNames,
  claimSources,
  claimVocabulary,
  deliveryModes,
  rights,
  trustContext,
  zoneKinds,
} from '#core/trust/index.ts'
import { compilePolicy } from './compile.ts'
import { decide } from './decide.ts'
import { defaultPolicy } from './default-policy.ts'
import { ask } from './evaluate.ts'
import { parsePolicyTests, runPolicyTests } from './policy-tests.ts'

const policy = compilePolicy(defaultPolicy)
const file = new URL('../../vectors/policy/default.test.yaml', import.meta.url)
const tests = parsePolicyTests(readFileSync(file, 'utf8'), 'default.test.yaml')

test.each(runPolicyTests(policy, tests))('$name', ({ problems }) => {
  expect(problems).toEqual([])
})

const now = 1_800_000_000_000
const claimOf = (name: (typeof claimNames)[number]): fc.Arbitrary<Claim> =>
  fc.record({
    name: fc.constant(name),
    value: fc.constantFrom(...claimVocabulary[name].values),
    source: fc.constantFrom(...claimSources),
    observedAt: fc.integer({ min: now - 150_000, max: now }),
  })
const anyClaims = fc.array(fc.constantFrom(...claimNames).chain(claimOf), { maxLength: 25 })

test('what a virtual machine writes is kept, and it works on without the site for four hours', () => {
  const values = {
    'endpoint.management': 'managed',
    'endpoint.reporting': 'current',
    'endpoint.diskEncryption': 'on',
  }
  const healthy = {
    ...values,
    'endpoint.osUpdates': 'current',
    'endpoint.antivirus': 'on',
    'endpoint.firewall': 'on',
  }
  for (const known of [values, healthy]) {
    const claims = Object.entries(known).map(
      ([name, value]): Claim => ({ name, value, source: 'server', observedAt: now }),
    )
    const zone = { name: 'office', kind: 'inside' } as const
    const context = trustContext({ person: { id: 'p', groups: ['employees'] }, claims, zone, now })
    const workspace = { id: 'w', collections: [], modes: ['local-vm' as const] }
    const { outcome } = decide(policy, { context, workspace, available: () => undefined })
    expect(outcome?.obligations).toMatchObject({ overlay: 'keep', leaseMinutes: 240 })
  }
})

test('I5: no set of self-reported claims adds a permit under the default policy', () => {
  const groups = fc.subarray(['employees', 'contractors', 'admins'])
  const zone = fc.constantFrom(...zoneKinds).map((kind) => ({ name: kind, kind }))
  const action = fc.constantFrom(...deliveryModes, ...rights)
  fc.assert(
    fc.property(groups, zone, action, anyClaims, anyClaims, (groups, zone, action, claims, invented) => {
      const person = { id: 'p', groups }
      const honest = claims.filter(({ source }) => source !== 'self')
      const boast = invented.map((claim) => ({ ...claim, source: 'self' as const }))
      const allowed = (claims: readonly Claim[]): boolean =>
        ask(policy, {
          person,
          claims: trustContext({ person, claims, zone, now }).claims,
          target: { id: 'w', collections: [] },
          action,
          mode: 'hosted-shared',
        }).allowed
      if (allowed([...honest, ...boast])) expect(allowed(honest)).toBe(true)
    }),
    { numRuns: 2000 },
  )
})
