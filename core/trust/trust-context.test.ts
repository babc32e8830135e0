import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { bestValue, claimNames, claimVocabulary, rankOf, unknownValue } from './claims.ts'
import { isKnownClaim, type TrustContext, trustContext } from './trust-context.ts'
import { type Claim, claimSources } from './words.ts'
import { type Zone, zoneKinds } from './zone.ts'

const now = 1_800_000_000_000
const outside: Zone = { name: 'outside', kind: 'outside' }
const settle = (...claims: Claim[]): TrustContext =>
  trustContext({ person: { id: 'p', groups: [] }, claims, zone: outside, now })
const disk = (value: string, source: Claim['source'], secondsAgo = 0): Claim => ({
  name: 'endpoint.diskEncryption',
  value,
  source,
  observedAt: now - secondsAgo * 1000,
})
const zoneClaim = (source: Claim['source'], value: string): Claim => ({
  name: 'network.zone',
  value,
  source,
  observedAt: now,
})
const settledDisk = (...claims: Claim[]): unknown => settle(...claims).claims['endpoint.diskEncryption']

test('every claim of the vocabulary is there, unknown and least believed where nothing is known', () => {
  const { claims } = settle()
  expect(Object.keys(claims)).toEqual([...claimNames])
  expect(claims['endpoint.firewall']).toEqual({ value: 'unknown', source: 'self', ageSec: 120 })
})

test('every kind of claim has unknown as a value, and something better', () => {
  for (const name of claimNames) {
    expect(claimVocabulary[name].values).toContain(unknownValue)
    expect(bestValue(name)).not.toBe(unknownValue)
  }
})

test('the best source wins, then the newest', () => {
  expect(settledDisk(disk('off', 'server'), disk('on', 'attested', 60))).toMatchObject({ value: 'on' })
  expect(settledDisk(disk('off', 'server', 9), disk('on', 'server', 8))).toMatchObject({ value: 'on' })
  expect(settledDisk(disk('off', 'server', 9), disk('on', 'server', 9))).toMatchObject({ value: 'off' })
})

test('what is stale, from the future or of an unknown word is unknown', () => {
  expect(settledDisk(disk('on', 'server', 120))).toMatchObject({ value: 'on', ageSec: 120 })
  expect(settledDisk(disk('on', 'server', 121))).toMatchObject({ value: 'unknown' })
  expect(settledDisk(disk('on', 'server', -61))).toMatchObject({ value: 'unknown' })
  expect(settledDisk(disk('yes', 'server'))).toMatchObject({ value: 'unknown' })
  expect(settledDisk({ ...disk('on', 'server'), observedAt: Number.NaN })).toMatchObject({ value: 'unknown' })
})

test('what the endpoint says of itself lowers trust and never raises it', () => {
  expect(settledDisk(disk('on', 'self'))).toMatchObject({ value: 'unknown' })
  expect(settledDisk(disk('off', 'self'))).toMatchObject({ value: 'off', source: 'self' })
  expect(settledDisk(disk('on', 'attested'), disk('off', 'self'))).toMatchObject({ value: 'off' })
  expect(settledDisk(disk('off', 'attested'), disk('on', 'self'))).toMatchObject({ value: 'off' })
})

test('only the zone that the site saw says where an endpoint is', () => {
  expect(settle(zoneClaim('attested', 'inside')).claims['network.zone'].value).toBe('outside')
  expect(settle(zoneClaim('self', 'inside')).claims['network.zone'].value).toBe('outside')
  expect(settle(zoneClaim('self', 'hostile')).claims['network.zone'].value).toBe('hostile')
})

const anyClaim = fc.record({
  name: fc.oneof(fc.constantFrom<string>(...claimNames), fc.constantFrom('__proto__', 'endpoint.made-up')),
  value: fc.oneof(
    fc.constantFrom(...claimNames.flatMap((name) => claimVocabulary[name].values)),
    fc.string({ maxLength: 5 }),
  ),
  source: fc.constantFrom(...claimSources),
  observedAt: fc.oneof(fc.integer({ min: now - 300_000, max: now + 100_000 }), fc.double()),
})

test('I5: no set of self-reported claims raises any value of any context', () => {
  const anyZone = fc.constantFrom(...zoneKinds).map((kind) => ({ name: kind, kind }))
  fc.assert(
    fc.property(fc.array(anyClaim), fc.array(anyClaim), anyZone, (claims, invented, zone) => {
      const person = { id: 'p', groups: [] }
      const selfReported = invented.map((claim) => ({ ...claim, source: 'self' as const }))
      const honest = claims.filter(({ source }) => source !== 'self')
      const before = trustContext({ person, claims: honest, zone, now })
      const after = trustContext({ person, claims: [...selfReported, ...honest], zone, now })
      for (const name of claimNames) {
        expect(isKnownClaim(name, after.claims[name])).toBe(true)
        const [was, is] = [before.claims[name], after.claims[name]]
        expect(rankOf(name, is.value)).toBeLessThanOrEqual(rankOf(name, was.value))
        if (is.value === was.value) expect(is).toEqual(was)
      }
    }),
    { numRuns: 1000 },
  )
})
