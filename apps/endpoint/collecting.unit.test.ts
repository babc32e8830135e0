import { expect, onTestFinished, test, vi } from 'vitest'
import { observe, type WatchingCollector } from '#core/posture/index.ts'
import { type Collecting, type CollectingOptions, createCollecting } from './collecting.ts'

const log = { info: vi.fn(), warn: vi.fn() }
const hour = 60 * 60_000

function collecting(
  collectors: readonly WatchingCollector[],
  options: Partial<CollectingOptions> = {},
): Collecting {
  const made = createCollecting({ collectors, everyMs: hour, log, ...options })
  onTestFinished(async () => made[Symbol.asyncDispose]())
  return made
}

/** Says what it is told to say, and calls for a look when that changes. */
function settable(value: string): WatchingCollector & { say(value: string): void; looks: number } {
  let said = value
  let call: (() => void) | undefined
  return {
    name: 'settable',
    claims: ['endpoint.firewall'],
    looks: 0,
    async collect() {
      this.looks += 1
      return [observe('endpoint.firewall', said, 'settable', said)]
    },
    watch: (changed) => {
      call = changed
    },
    say: (next) => {
      said = next
      call?.()
    },
  }
}

const hanging: WatchingCollector = {
  name: 'hanging',
  claims: ['endpoint.edr', 'endpoint.machine'],
  collect: async () => new Promise(() => undefined),
}
const crashing: WatchingCollector = {
  name: 'crashing',
  claims: ['endpoint.antivirus'],
  collect: () => {
    throw new Error('/home/anna/secret is not there')
  },
}
const foreign: WatchingCollector = {
  name: 'foreign',
  claims: ['endpoint.clock'],
  collect: async () => [observe('network.vpn', 'yes', 'foreign', '')],
}

test('collectors that hang, crash or speak of what is not theirs make their own claims unknown, and no others', async () => {
  const made = collecting([hanging, settable('on'), crashing, foreign], { timeoutMs: 50 })
  await made.collected
  expect(made.latest().map(({ claim, value, detail }) => [claim, value, detail.split(':')[0]])).toEqual([
    ['endpoint.edr', 'unknown', 'COLLECTOR_TIMED_OUT'],
    ['endpoint.machine', 'unknown', 'COLLECTOR_TIMED_OUT'],
    ['endpoint.firewall', 'on', 'on'],
    ['endpoint.antivirus', 'unknown', 'COLLECTOR_CRASHED'],
    ['endpoint.clock', 'unknown', 'COLLECTOR_MISBEHAVED'],
  ])
  expect(JSON.stringify(made.latest())).not.toContain('anna')
})

test('what hangs is not asked again, what crashes is', async () => {
  const hung = vi.fn(async () => new Promise<never>(() => undefined))
  const crashed = vi.fn(async () => Promise.reject(new Error('broken')))
  const made = collecting(
    [
      { ...hanging, collect: hung },
      { ...crashing, collect: crashed },
    ],
    { timeoutMs: 20, everyMs: 1 },
  )
  await made.collected
  await expect.poll(() => crashed.mock.calls.length).toBeGreaterThan(1)
  expect(hung).toHaveBeenCalledTimes(1)
})

test('a change that a collector notices is told at once, and only when a value has changed', async () => {
  const collector = settable('on')
  const made = collecting([collector])
  const told = vi.fn()
  const end = made.onChange(told)
  await expect.poll(() => told.mock.calls.length).toBe(1)

  collector.say('off')
  await expect.poll(() => told.mock.calls.length).toBe(2)
  expect(made.latest()).toMatchObject([{ value: 'off' }])

  const looks = collector.looks
  collector.say('off')
  await expect.poll(() => collector.looks).toBeGreaterThan(looks)
  expect(told).toHaveBeenCalledTimes(2)

  const other = vi.fn()
  made.onChange(other)
  end()
  collector.say('on')
  await expect.poll(() => other.mock.calls.length).toBe(1)
  expect(told).toHaveBeenCalledTimes(2)
})

test('a change after a look that took long is looked at at once', async () => {
  let looks = 0
  let call: (() => void) | undefined
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const slow: WatchingCollector = {
    ...settable('on'),
    collect: async () => {
      looks += 1
      vi.advanceTimersByTime(hour)
      return []
    },
    watch: (changed) => {
      call = changed
    },
  }
  const made = collecting([slow])
  await made.collected
  call?.()
  await expect.poll(() => looks).toBe(2)
})

test('a flood of changes does not make a flood of looks', async () => {
  const collector = settable('on')
  const made = collecting([collector])
  await made.collected
  const looks = collector.looks
  for (let call = 0; call < 1000; call += 1) {
    collector.say(call % 2 === 0 ? 'off' : 'on')
    await Promise.resolve()
  }
  await expect.poll(() => made.latest()[0]?.value).toBe('on')
  expect(collector.looks - looks).toBeLessThan(10)
})

test('who cannot watch still looks in rounds, and disposing ends all of it', async () => {
  const blind: WatchingCollector = {
    ...settable('on'),
    watch: () => {
      throw new Error('no more watches')
    },
  }
  const looked = vi.fn(async () => [])
  const made = createCollecting({ collectors: [{ ...blind, collect: looked }], everyMs: 1, log })
  await expect.poll(() => looked.mock.calls.length).toBeGreaterThan(1)
  await made[Symbol.asyncDispose]()
  const { length } = looked.mock.calls
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(looked.mock.calls.length).toBe(length)
})

test('disposing does not wait for what hangs', async () => {
  const made = createCollecting({ collectors: [hanging], everyMs: hour, log, timeoutMs: 10 })
  await made.collected
  await made[Symbol.asyncDispose]()
})
