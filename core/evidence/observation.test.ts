import { expect, test } from 'vitest'
import { holdFaults, type Observation } from './observation.ts'

const seen = (value: string, collector: string, detail = 'seen'): Observation => ({
  claim: 'endpoint.antivirus',
  value,
  collector,
  detail,
})
const failed = (collector: string, code = 'COLLECTOR_CRASHED'): Observation =>
  seen('unknown', collector, `${code}: why`)

test('a fault stands while its collector fails, however often, and goes when it has looked', () => {
  const first = holdFaults([seen('off', 'clamd')], [failed('clamd', 'COLLECTOR_TIMED_OUT')])
  expect(first).toEqual([seen('off', 'clamd', 'COLLECTOR_TIMED_OUT: why')])
  const second = holdFaults(first, [failed('clamd')])
  expect(second).toEqual([seen('off', 'clamd', 'COLLECTOR_CRASHED: why')])
  expect(holdFaults(second, [seen('on', 'clamd')])).toEqual([seen('on', 'clamd')])
})

test('a collector that looked and cannot tell, or leaves a claim out, takes its word back', () => {
  expect(holdFaults([seen('off', 'clamd')], [seen('unknown', 'clamd')])).toEqual([seen('unknown', 'clamd')])
  expect(holdFaults([seen('off', 'clamd')], [])).toEqual([])
})

test('no other collector takes back what one has seen, and a virtue does not stand', () => {
  const before = [seen('outdated', 'clamd'), seen('on', 'programs')]
  expect(holdFaults(before, [failed('clamd'), seen('on', 'programs')])).toEqual([
    seen('outdated', 'clamd', 'COLLECTOR_CRASHED: why'),
    seen('on', 'programs'),
  ])
  expect(holdFaults([seen('on', 'clamd')], [failed('clamd')])).toEqual([failed('clamd')])
})

test('the worst stands of what a collector saw under another name', () => {
  const before = [seen('outdated', 'apt'), seen('off', 'dnf')]
  expect(holdFaults(before, [failed('updates')])).toEqual([seen('off', 'updates', 'COLLECTOR_CRASHED: why')])
  // Who looked themselves speak for themselves.
  const now = [failed('updates'), seen('on', 'dnf')]
  expect(holdFaults(before, now)[0]).toMatchObject({ value: 'outdated', collector: 'updates' })
})
