import { randomBytes, randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { EndpointLease, EndpointToSite, ReportedLease } from '#core/agent/endpoint-messages.ts'
import { type HeldLease, LeaseKeeper } from './lease-keeper.ts'

const minute = 60_000
let clock: number
let told: EndpointToSite[]
let keeper: LeaseKeeper

beforeEach(() => {
  vi.useFakeTimers()
  clock = 1_000_000
  told = []
  keeper = new LeaseKeeper({ tell: (message) => void told.push(message), steadyMs: () => clock })
})

afterEach(async () => {
  await keeper.close()
  vi.useRealTimers()
})

function hold(leftMs = 15 * minute, askedAt = clock): { lease: HeldLease; key: Uint8Array } {
  const key = randomBytes(32)
  return { lease: keeper.hold({ id: randomUUID(), leftMs, overlay: 'discard', askedAt, key }), key }
}

function pass(ms: number): void {
  clock += ms
  vi.advanceTimersByTime(1_000)
}

function say(heard: number, ...leases: readonly Partial<EndpointLease>[]): void {
  const filled = leases.map((lease) => ({
    id: randomUUID(),
    state: 'held' as const,
    expiresAt: new Date().toISOString(),
    leftMs: 15 * minute,
    overlay: 'discard' as const,
    ...lease,
  }))
  keeper.receive({ kind: 'desired', heard, leases: filled })
}

function lastReport(): readonly ReportedLease[] {
  const reports = told.filter((message) => message.kind === 'report')
  return reports.at(-1)?.leases ?? []
}

test('a lease gives its key while it holds, and the site hears of it at once', () => {
  const { lease, key } = hold()
  expect(lease.key).toEqual(key)
  expect(lastReport()).toMatchObject([{ id: lease.id, state: 'held' }])
})

test('when the site is not heard of in time the key is wiped and whoever uses it is told', () => {
  const { lease, key } = hold()
  pass(14 * minute)
  expect(lease.signal.aborted).toBe(false)
  pass(minute)
  expect(lease.signal.reason).toMatchObject({ code: 'LEASE_EXPIRED' })
  expect(key.every((byte) => byte === 0)).toBe(true)
  expect(() => lease.key).toThrow(expect.objectContaining({ code: 'LEASE_EXPIRED' }))
})

test('what is left counts from before it was asked for, however long the answer took', () => {
  const { lease } = hold(15 * minute, clock - 16 * minute)
  expect(lease.signal.reason).toMatchObject({ code: 'LEASE_EXPIRED' })
})

test('a word of the site prolongs from the report that it answers, not from when it arrives', () => {
  const { lease } = hold()
  const reportedAt = clock + minute
  pass(10 * minute)
  // Held back on its way for nine minutes.
  say(reportedAt, { id: lease.id })
  pass(5 * minute)
  expect(lease.signal.aborted).toBe(false)
  pass(minute)
  expect(lease.signal.reason).toMatchObject({ code: 'LEASE_EXPIRED' })
})

test('a word from before the lease neither prolongs nor ends it', () => {
  const { lease } = hold()
  say(clock - 1)
  say(0, { id: lease.id, leftMs: 60 * minute })
  expect(lease.signal.aborted).toBe(false)
  pass(15 * minute)
  expect(lease.signal.reason).toMatchObject({ code: 'LEASE_EXPIRED' })
})

test('a withdrawn lease is over at once, with the reason, the remedy and the way down', () => {
  const { lease, key } = hold()
  const notice = {
    code: 'TRUST_LOST',
    reason: 'x',
    remedy: 'Turn it on',
    stepDown: 'hosted-shared' as const,
  }
  say(0, { id: lease.id, state: 'withdrawn', leftMs: 0, notice })
  expect(lease.signal.reason).toMatchObject({ code: 'LEASE_WITHDRAWN', remedy: 'Turn it on' })
  expect(lease.notice).toEqual(notice)
  expect(key.every((byte) => byte === 0)).toBe(true)
  // The disk may still be open: only its holder knows when it is not.
  expect(lastReport()).toMatchObject([{ state: 'held' }])
  lease.end()
  expect(lastReport()).toMatchObject([{ state: 'ended', end: { code: 'LEASE_WITHDRAWN' } }])
})

test('what becomes of what was written is what the site said last, also when it withdraws', () => {
  const { lease } = hold()
  say(clock, { id: lease.id, overlay: 'keep' })
  expect(lease.overlay).toBe('keep')
  let atTheEnd: string | undefined
  lease.signal.addEventListener('abort', () => (atTheEnd = lease.overlay))
  say(clock, { id: lease.id, state: 'withdrawn', leftMs: 0, overlay: 'discard' })
  expect(atTheEnd).toBe('discard')
})

test('a keeper that closes waits until what was paused is gone, and has told the site', async () => {
  const { lease } = hold()
  const unpause = lease.pause()
  keeper.onNothingHeld(async () => {
    await Promise.resolve()
    unpause()
  })
  await keeper.close()
  expect(lastReport()).toMatchObject([{ id: lease.id, state: 'ended' }])
})

test('what a launch brings after the keeper was closed is given back at once', async () => {
  await keeper.close()
  const { lease, key } = hold()
  expect(() => lease.key).toThrow(expect.objectContaining({ code: 'LEASE_ENDED' }))
  expect(key.every((byte) => byte === 0)).toBe(true)
  expect(lastReport()).toMatchObject([{ id: lease.id, state: 'ended', end: { code: 'LEASE_ENDED' } }])
})

test('what stands still in memory is told until it is gone, whatever the site has ended', () => {
  const { lease } = hold()
  const unpause = lease.pause()
  lease.end()
  expect(lastReport()).toMatchObject([{ id: lease.id, state: 'paused', end: { code: 'LEASE_ENDED' } }])
  say(clock)
  keeper.report()
  expect(lastReport()).toMatchObject([{ id: lease.id, state: 'paused' }])
  unpause()
  expect(lastReport()).toMatchObject([{ id: lease.id, state: 'ended' }])
  say(clock, { id: lease.id, state: 'withdrawn', leftMs: 0 })
  keeper.report()
  expect(lastReport()).toHaveLength(1)
  say(clock)
  keeper.report()
  expect(lastReport()).toEqual([])
})

test('nothing revives a lease that is over', () => {
  const { lease } = hold()
  say(0, { id: lease.id, state: 'withdrawn', leftMs: 0 })
  say(clock, { id: lease.id, leftMs: 60 * minute })
  expect(() => lease.key).toThrow(expect.objectContaining({ code: 'LEASE_WITHDRAWN' }))
})

test('a lease that the site no longer lists is over; one that was given back is forgotten', () => {
  const [kept, given] = [hold().lease, hold().lease]
  given.end({ code: 'PROGRAM_ENDED', reason: 'done' })
  expect(lastReport()).toMatchObject([
    { state: 'held' },
    { state: 'ended', end: { code: 'PROGRAM_ENDED', reason: 'done' } },
  ])
  say(clock)
  expect(kept.signal.reason).toMatchObject({ code: 'LEASE_WITHDRAWN' })
  keeper.report()
  expect(lastReport().map(({ id }) => id)).toEqual([kept.id])
})

test('a site that turns the endpoint away leaves it nothing', () => {
  const leases = [hold().lease, hold().lease]
  keeper.refused()
  for (const { signal } of leases) expect(signal.reason).toMatchObject({ code: 'LEASE_WITHDRAWN' })
})

test('the last counts of a disk are told with its end, whoever asks later', () => {
  const { lease } = hold()
  let bytesFetched = 7
  lease.measure(() => ({ bytesFetched, bytesLocal: 0, percentLocal: 1, cacheHits: 0, bytesWritten: 0 }))
  lease.end()
  bytesFetched = 0
  keeper.report()
  expect(lastReport()).toMatchObject([{ stats: { bytesFetched: 7 } }])
})
