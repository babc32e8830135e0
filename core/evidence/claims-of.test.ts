import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { claimVocabulary, rankOf } from '#core/trust/index.ts'
import {
  beforeTheFall,
  changesBetween,
  claimsOf,
  type EndpointKnowledge,
  evidentClaimNames,
  fallenAfter,
  noKnowledge,
  type SystemStatement,
  settledClaims,
  statableClaims,
} from './claims-of.ts'
import type { Observation } from './observation.ts'

const now = 1_800_000_000_000
const said = (claim: Observation['claim'], value: string): Observation => ({
  claim,
  value,
  collector: 'x',
  detail: '',
})
const stated = (claim: Observation['claim'], value: string, system = 'mdm'): SystemStatement => ({
  system,
  claim,
  value,
  at: now - 3_600_000,
  expiresAt: now + 1,
})
const reporting = (
  observations: readonly Observation[],
  more: Partial<EndpointKnowledge> = {},
): EndpointKnowledge => ({
  ...noKnowledge,
  lastAt: now - 1_000,
  observations,
  seen: { clock: 'right', interception: 'none' },
  ...more,
})
const settle = (knowledge: EndpointKnowledge, statements: readonly SystemStatement[] = []) =>
  settledClaims(claimsOf(knowledge, statements, now), now)

test('the own word lowers or is ignored, together with another it is corroborated', () => {
  const disk = 'endpoint.diskEncryption'
  expect(settle(reporting([said(disk, 'on')]))[disk]).toMatchObject({ value: 'unknown' })
  expect(settle(reporting([said(disk, 'off')]))[disk]).toMatchObject({ value: 'off', source: 'self' })
  expect(settle(reporting([said(disk, 'on')]), [stated(disk, 'on')])[disk]).toMatchObject({
    value: 'on',
    source: 'corroborated',
  })
  expect(settle(reporting([]), [stated(disk, 'on')])[disk]).toMatchObject({ value: 'on', source: 'server' })
  expect(settle(reporting([said(disk, 'unknown')]), [stated(disk, 'on')])[disk]).toMatchObject({
    source: 'server',
  })
})

test('whoever says otherwise counts: the endpoint, or one of several systems', () => {
  const disk = 'endpoint.diskEncryption'
  expect(settle(reporting([said(disk, 'off')]), [stated(disk, 'on')])[disk]).toMatchObject({ value: 'off' })
  expect(settle(reporting([said(disk, 'on')]), [stated(disk, 'off')])[disk]).toMatchObject({ value: 'off' })
  const two = [stated(disk, 'on'), stated(disk, 'off', 'edr')]
  expect(settle(reporting([said(disk, 'on')]), two)[disk]).toMatchObject({ value: 'off', source: 'server' })
})

test('what has expired, and the words of who is silent or forked, are gone', () => {
  const disk = 'endpoint.diskEncryption'
  const expired = { ...stated(disk, 'on'), expiresAt: now }
  expect(settle(reporting([said(disk, 'on')]), [expired])[disk]).toMatchObject({ value: 'unknown' })
  const attested = { deviceKey: 'tpm', secureBoot: 'on', bootState: 'expected', detail: '' } as const
  const silent = settle(reporting([], { attested, lastAt: now - 121_000 }))
  expect(silent['endpoint.reporting']).toMatchObject({ value: 'silent', source: 'server' })
  expect(silent['endpoint.deviceKey']).toMatchObject({ value: 'file' })
  expect(silent['endpoint.bootState']).toMatchObject({ value: 'unknown' })
  const forked = settle(reporting([], { attested, isForked: true }))
  expect(forked['endpoint.reporting']).toMatchObject({ value: 'silent' })
  expect(forked['endpoint.deviceKey']).toMatchObject({ value: 'none' })
})

test('a quote attests, and of several ways to the site the worst counts', () => {
  const attested = { deviceKey: 'tpm', secureBoot: 'unknown', bootState: 'changed', detail: '' } as const
  const settled = settle(
    reporting([said('endpoint.bootState', 'expected')], {
      attested,
      path: { interception: 'detected', at: now - 90_000 },
    }),
  )
  expect(settled['endpoint.deviceKey']).toMatchObject({ value: 'tpm', source: 'attested' })
  expect(settled['endpoint.secureBoot']).toMatchObject({ value: 'unknown' })
  expect(settled['endpoint.bootState']).toMatchObject({ value: 'changed', source: 'attested' })
  expect(settled['network.interception']).toMatchObject({ value: 'detected', source: 'server' })
})

const anyObservation = fc
  .constantFrom(...evidentClaimNames)
  .chain((claim) => fc.constantFrom(...claimVocabulary[claim].values).map((value) => said(claim, value)))
const anyStatement = fc
  .constantFrom(...statableClaims)
  .chain((claim) => fc.constantFrom(...claimVocabulary[claim].values).map((value) => stated(claim, value)))

test('I5: whatever an endpoint observes, nothing is better than what the others say of it', () => {
  fc.assert(
    fc.property(fc.array(anyObservation), fc.array(anyStatement), (observations, statements) => {
      const without = settle(reporting([]), statements)
      const having = settle(reporting(observations), statements)
      for (const name of evidentClaimNames)
        expect(rankOf(name, having[name]?.value ?? '')).toBeLessThanOrEqual(
          rankOf(name, without[name]?.value ?? ''),
        )
    }),
  )
})

test('what fell is remembered as it was, until it is as good again', () => {
  fc.assert(
    fc.property(fc.array(fc.array(anyObservation), { minLength: 1 }), (looks) => {
      let before = settle(reporting([]))
      const best = before
      let fallen = {}
      for (const observations of looks) {
        const after = settle(reporting(observations))
        fallen = fallenAfter(fallen, before, after)
        before = after
      }
      // Nothing here is ever better than at the start, so what it fell from is what it was then.
      for (const { claim } of changesBetween(best, before)) expect(fallen).toHaveProperty([claim])
      expect(Object.keys(fallen).length).toBe(changesBetween(best, before).length)
    }),
  )
})

test('while a brake holds, claims count as before the fall, but for interception', () => {
  const good = settle(reporting([], { path: undefined }), [stated('endpoint.antivirus', 'on')])
  const bad = reporting([said('endpoint.antivirus', 'off')], { path: { interception: 'detected', at: now } })
  const claims = claimsOf(bad, [stated('endpoint.antivirus', 'on')], now)
  const fallen = fallenAfter({}, good, settledClaims(claims, now))
  expect(Object.keys(fallen).toSorted()).toEqual(['endpoint.antivirus', 'network.interception'])
  const held = settledClaims(beforeTheFall(claims, fallen, now), now)
  expect(held['endpoint.antivirus']).toMatchObject({ value: 'on', source: 'server' })
  expect(held['network.interception']).toMatchObject({ value: 'detected' })
})
