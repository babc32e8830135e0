import { expect, test } from 'vitest'
import type { LeaseStats } from '#core/api/lease.ts'
import type { DiskDelivery } from '#core/api/person.ts'
import { LeaseError } from '#core/lease/index.ts'
import type { DiskEnd } from '../launch-disk.ts'
import { createPace } from './device-routes.ts'
import { Launches, type LaunchesOptions, type TakenBack } from './launches.ts'
import { noticeOf } from './notice.ts'

const ann = { uid: 1000 }
const root = { uid: 0 }
const stats: LeaseStats = { bytesFetched: 7, bytesLocal: 0, percentLocal: 3, cacheHits: 0, bytesWritten: 0 }

/** As far as launches look at one. */
function deliveryOf(id: string): DiskDelivery {
  const session = {
    id,
    workspace: { id: 'lab', name: 'Laboratory' },
    person: { name: 'Ann' },
    mode: 'streamed-disk',
  }
  return { kind: 'streamed-disk', session, lease: { id: `lease-${id}` } } as unknown as DiskDelivery
}

function setUp(change: Partial<LaunchesOptions> = {}) {
  const taken: TakenBack[] = []
  const failed: unknown[] = []
  const opening = Promise.withResolvers<DiskEnd>()
  let count = 0
  const launches = new Launches({
    agent: { leases: { leftMsOf: () => 60_000 } } as unknown as LaunchesOptions['agent'],
    redeem: async () => {
      count += 1
      const delivery = deliveryOf(`session-${count}`)
      return { answer: { kind: 'launch', delivery } as never, nonce: '', askedAt: 0 }
    },
    open: async ({ onOpen }) => {
      onOpen(() => stats)
      return opening.promise
    },
    account: undefined,
    onTaken: (one) => taken.push(one),
    onFailed: (error) => failed.push(error),
    now: () => 0,
    ...change,
  })
  return { launches, taken, failed, end: opening.resolve }
}

test('whoever asked sees what runs for them, others do not, root everything', async () => {
  const { launches, end } = setUp()
  await launches.launch('code', 'page', ann)
  expect(launches.list(ann)).toMatchObject([{ id: 'session-1', state: 'open', stats, leaseLeftMs: 60_000 }])
  expect(launches.list(root)).toHaveLength(1)
  expect(launches.list({ uid: 1001 })).toEqual([])
  end({ code: 'LEASE_ENDED', reason: 'done' })
  await launches.settled()
  expect(launches.list(ann)).toMatchObject([{ state: 'ended', end: { taken: false } }])
})

test('what the site took back is told, with its own code, remedy and way on', async () => {
  const { launches, taken, end } = setUp()
  await launches.launch('code', 'page', ann)
  const notice = {
    code: 'TRUST_LOST',
    reason: 'the scanner is off',
    remedy: 'Start it',
    stepDown: 'hosted-shared',
  } as const
  end({ code: 'LEASE_WITHDRAWN', reason: 'withdrawn', notice })
  await launches.settled()
  expect(taken).toMatchObject([
    { asker: ann, end: { code: 'TRUST_LOST', taken: true, stepDown: 'hosted-shared' } },
  ])
  expect(noticeOf(taken[0]!.launch, taken[0]!.end)).toEqual({
    title: 'Laboratory was taken back from this device',
    body: 'The scanner is off. Start it. You can go on in the data centre: open your portal and press one button.',
    isCritical: true,
  })
})

test('what its person ended elsewhere is not called taken back', async () => {
  const { launches, taken, end } = setUp()
  await launches.launch('code', 'page', ann)
  end({ code: 'LEASE_WITHDRAWN', reason: 'x', notice: { code: 'SESSION_CLOSED', reason: 'You ended it' } })
  await launches.settled()
  expect(taken).toEqual([])
  expect(launches.list(ann)[0]?.end).toMatchObject({ code: 'SESSION_CLOSED', taken: false })
})

test('what cannot be opened says why, and nothing of what broke inside', async () => {
  for (const [error, expected] of [
    [
      new LeaseError('LEASE_KEY_UNREADABLE', 'no key', { remedy: 'Enrol again' }),
      { code: 'LEASE_KEY_UNREADABLE', remedy: 'Enrol again' },
    ],
    [new TypeError('at line 7 of secret.ts'), { code: 'SERVICE_BROKEN', reason: 'it could not be opened' }],
    [
      Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }),
      { code: 'SERVICE_NO_ROOM', remedy: 'Remove files that are not needed, and open it again.' },
    ],
  ] as const) {
    const { launches, failed } = setUp({ open: () => Promise.reject(error) })
    await launches.launch('code', 'page', ann)
    await launches.settled()
    expect(launches.list(ann)[0]).toMatchObject({ state: 'ended', end: { taken: false, ...expected } })
    expect(failed).toEqual([error])
  }
})

test('no more than a handful run, and of those that are over the latest are remembered', async () => {
  const { launches, end } = setUp()
  for (let index = 0; index < 16; index += 1) await launches.launch('code', 'page', ann)
  await expect(launches.launch('code', 'page', ann)).rejects.toMatchObject({ code: 'SERVICE_FULL' })
  end({ code: 'LEASE_ENDED', reason: 'done' })
  await launches.settled()
  for (let index = 0; index < 30; index += 1) {
    await launches.launch('code', 'page', ann)
    await launches.settled()
  }
  expect(launches.list(ann).length).toBeLessThanOrEqual(21)
  expect(launches.list(ann)[0]?.id).toBe('session-46')
})

test('a bucket lets a burst through and then as many as time gives, also when the clock goes back', () => {
  let now = 0
  const pace = createPace(3, 1, () => now)
  for (let index = 0; index < 3; index += 1) pace()
  expect(pace).toThrow(expect.objectContaining({ code: 'SERVICE_TOO_FAST' }))
  now = 1000
  pace()
  expect(pace).toThrow(expect.objectContaining({ code: 'SERVICE_TOO_FAST' }))
  now = -5000
  expect(pace).toThrow(expect.objectContaining({ code: 'SERVICE_TOO_FAST' }))
})
