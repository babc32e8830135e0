import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createPace } from './pace.ts'

test('a burst passes at once, what follows at a steady rate, and a pause earns the next burst', () => {
  let now = 0
  const pace = createPace({ burst: 10, perSecond: 20 }, () => now)
  for (let step = 0; step < 10; step++) expect(pace()).toBe(0)
  for (let step = 0; step < 100; step++) now += pace()
  expect(now).toBeCloseTo(5_000)
  now += 60_000
  for (let step = 0; step < 10; step++) expect(pace()).toBe(0)
  expect(pace()).toBeGreaterThan(0)
})

test('whoever waits as told never goes faster than the limit', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(500), { maxLength: 200 }), (pauses) => {
      let now = 0
      const pace = createPace({ burst: 5, perSecond: 10 }, () => now)
      const steps = pauses.map((pause) => {
        now += pause
        now += pace()
        return now
      })
      expect(steps.length).toBeLessThanOrEqual(5 + (now / 1000) * 10 + 1e-6)
    }),
  )
})
