import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Failures, type SignInAttempt, sourceOf, throttle, throttleKeys } from './throttle.ts'

const start = Date.UTC(2026, 0, 1)
const home = sourceOf('192.0.2.1')
const away = sourceOf('198.51.100.7')

test('addresses of one party are one source', () => {
  expect(sourceOf('2001:db8:1:2:aaaa::1')).toBe(sourceOf('2001:db8:1:2:bbbb::ffff'))
  expect(sourceOf('2001:db8:1:3::1')).not.toBe(sourceOf('2001:db8:1:2::1'))
  expect(sourceOf('::ffff:192.0.2.1')).toBe(home)
  expect(home).not.toBe(away)
  expect(() => sourceOf('nonsense')).toThrow(expect.objectContaining({ code: 'ADDRESS_MALFORMED' }))
})

test('a few failures are free, then the wait doubles up to its limit', () => {
  const waits = Array.from({ length: 16 }, (_, failures) => waitAfter(attempt({ source: away }), failures))
  expect(waits.slice(0, 8)).toEqual([0, 0, 0, 0, 1000, 2000, 4000, 8000])
  expect(waits.at(-1)).toBe(900_000)
  const known = Array.from({ length: 16 }, (_, failures) =>
    waitAfter(attempt({ isKnownSource: true }), failures),
  )
  expect(known.slice(0, 8)).toEqual([0, 0, 0, 0, 0, 0, 1000, 2000])
  expect(known.at(-1)).toBe(60_000)
})

test('the wait runs out', () => {
  const stored = new Map(throttleKeys(attempt()).counted.map((key) => [key, { failures: 6, lastAt: start }]))
  expect(throttle(attempt(), stored, start + 3_000)).toEqual({ allowed: false, retryAfterMs: 1_000 })
  expect(throttle(attempt(), stored, start + 4_000)).toEqual({ allowed: true })
})

test('one source that tries many accounts is slowed too, and an account of its own does not reset that', () => {
  const stored = new Map<string, Failures>()
  for (let n = 0; n < 52; n++) {
    count(stored, attempt({ account: `person ${n}`, source: away }), start)
    succeed(stored, attempt({ account: 'own', source: away }))
  }
  expect(throttle(attempt({ account: 'one more', source: away }), stored, start)).toEqual({
    allowed: false,
    retryAfterMs: 2_000,
  })
})

test('however many people sign in from behind one address with the right password, nobody is slowed', () => {
  const stored = new Map<string, Failures>()
  for (let n = 0; n < 200; n++) {
    const made = attempt({ account: `person ${n}`, source: away })
    expect(throttle(made, stored, start)).toEqual({ allowed: true })
    succeed(stored, made)
  }
})

test('keys neither grow with a login nor hold it', () => {
  const { counted } = throttleKeys(attempt({ account: 'maria'.repeat(10_000) }))
  for (const key of counted) expect(key.length).toBeLessThan(100)
  expect(counted.join()).not.toContain('maria')
})

const strangers = fc.array(
  fc.record({
    account: fc.constantFrom('maria', 'paul'),
    source: fc.constantFrom(away, sourceOf('203.0.113.9'), sourceOf('2001:db8::1')),
    isKnownSource: fc.boolean(),
  }),
  { maxLength: 200 },
)

test('whatever strangers try from elsewhere, the owner is not delayed by it', () => {
  fc.assert(
    fc.property(strangers, fc.boolean(), (attempts, isKnownSource) => {
      const stored = new Map<string, Failures>()
      for (const stranger of attempts) count(stored, stranger, start)
      expect(throttle(attempt({ isKnownSource }), stored, start)).toEqual({ allowed: true })
    }),
  )
})

test('no state and no clock makes a wait longer than fifteen minutes, and more failures never shorten it', () => {
  fc.assert(
    fc.property(fc.nat(1e9), fc.integer(), fc.boolean(), (failures, skewMs, isKnownSource) => {
      const wait = waitAfter(attempt({ isKnownSource }), failures, skewMs)
      expect(wait).toBeGreaterThanOrEqual(0)
      expect(wait).toBeLessThanOrEqual(900_000)
      expect(waitAfter(attempt({ isKnownSource }), failures + 1, skewMs)).toBeGreaterThanOrEqual(wait)
    }),
  )
})

function attempt(change: Partial<SignInAttempt> = {}): SignInAttempt {
  return { account: 'maria', source: home, isKnownSource: false, ...change }
}

function count(stored: Map<string, Failures>, made: SignInAttempt, lastAt: number): void {
  for (const key of throttleKeys(made).counted)
    stored.set(key, { failures: (stored.get(key)?.failures ?? 0) + 1, lastAt })
}

function succeed(stored: Map<string, Failures>, made: SignInAttempt): void {
  count(stored, made, start)
  const { cleared, returned } = throttleKeys(made)
  for (const key of cleared) stored.delete(key)
  for (const key of returned)
    stored.set(key, { failures: (stored.get(key)?.failures ?? 0) - 1, lastAt: start })
}

function waitAfter(made: SignInAttempt, failures: number, sinceMs = 0): number {
  const { counted } = throttleKeys(made)
  const result = throttle(
    made,
    new Map(counted.map((key) => [key, { failures, lastAt: start }])),
    start + sinceMs,
  )
  return result.allowed ? 0 : result.retryAfterMs
}
