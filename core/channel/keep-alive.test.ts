import { expect, test } from 'vitest'
import { ManualScheduler } from './fake-network.fixture.ts'
import { KeepAlive } from './keep-alive.ts'

test('a round trip that takes longer than an interval is measured, too, and while it takes', () => {
  const scheduler = new ManualScheduler()
  const pings: bigint[] = []
  const keepAlive = new KeepAlive(scheduler, {
    ping: (number) => pings.push(number),
    silent: () => undefined,
  })
  keepAlive.start()
  scheduler.advance(40)
  keepAlive.pong(pings.at(-1)!)
  expect(keepAlive.rttMs).toBe(40)

  scheduler.advance(5_000 - 40 + 12_000)
  expect(keepAlive.rttMs).toBe(12_000)
  for (const number of pings.slice(1)) keepAlive.pong(number)
  expect(keepAlive.rttMs).toBe(0.75 * 40 + 0.25 * 12_000)
  keepAlive.stop()
})
