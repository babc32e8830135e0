import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FoundFile } from './layout.ts'
import { UseOrder } from './use-order.ts'

const minute = 60_000

function orderOf(uses: UseOrder): string[] {
  const order: string[] = []
  for (let oldest = uses.oldest(); oldest !== undefined; oldest = uses.oldest()) {
    order.push(oldest)
    uses.forget(oldest)
  }
  return order
}

test('the file that was used longest ago is the oldest', () => {
  const uses = new UseOrder()
  uses.written('a', 1, 0)
  uses.written('b', 4097, 1)
  uses.written('c', 4096, 2)
  uses.read('a', 1, 0, 3)
  expect([uses.size, uses.totalBytes]).toEqual([3, 4 * 4096])
  expect(orderOf(uses)).toEqual(['b', 'c', 'a'])
  expect([uses.size, uses.totalBytes]).toEqual([0, 0])
})

test('a use is written to the file once a minute', () => {
  const uses = new UseOrder()
  uses.written('a', 1, 0)
  const touched = [1, 30_000, minute + 1, minute + 2, 2 * minute + 1, 2 * minute + 2].map((nowMs) =>
    uses.read('a', 1, 0, nowMs),
  )
  expect(touched).toEqual([false, false, true, false, false, true])
  // Of a file that is not known yet the file itself says it.
  expect(uses.read('b', 1, 10 * minute, 10 * minute + 5)).toBe(false)
  expect(uses.read('c', 1, 5 * minute, 10 * minute)).toBe(true)
})

test('a look at all files adds those of others, forgets what is gone and keeps what was used meanwhile', async () => {
  const uses = new UseOrder()
  for (const file of ['a', 'gone', 'b', 'c']) uses.written(file, 1, 1000)
  uses.read('b', 1, 1000, 2000)
  uses.read('a', 1, 1000, 3 * minute)
  await uses.replace(
    (async function* () {
      yield { file: 'a', sizeBytes: 1, touchedMs: 1000 }
      yield { file: 'b', sizeBytes: 1, touchedMs: 1000 }
      yield { file: 'other', sizeBytes: 8192, touchedMs: 2 * minute }
      yield { file: 'evicted', sizeBytes: 1, touchedMs: 2 * minute }
      uses.forget('evicted')
      uses.written('new', 1, 5 * minute)
      yield { file: 'c', sizeBytes: 1, touchedMs: 1000 }
    })(),
    4 * minute,
    new AbortController().signal,
  )
  expect(uses.totalBytes).toBe(6 * 4096)
  expect(orderOf(uses)).toEqual(['c', 'b', 'other', 'a', 'new'])
})

test('nothing is taken from a look that was given up', async () => {
  const uses = new UseOrder()
  uses.written('a', 1, 0)
  const ending = new AbortController()
  const found = (async function* () {
    yield { file: 'b', sizeBytes: 1, touchedMs: 0 }
    ending.abort()
  })()
  await uses.replace(found, 10, ending.signal)
  expect(orderOf(uses)).toEqual(['a'])
})

test('whatever is found, the order is that of use, to the minute, and the total is right', async () => {
  const file = fc.record({
    file: fc.nat({ max: 50 }).map(String),
    sizeBytes: fc.nat({ max: 100_000 }),
    touchedMs: fc.nat({ max: 2 ** 41 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(file, { selector: ({ file }) => file }), async (found) => {
      const uses = new UseOrder()
      await uses.replace(oneByOne(found), 2 ** 42, new AbortController().signal)
      expect(uses.totalBytes).toBe(
        found.reduce((sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / 4096) * 4096, 0),
      )
      const minutes = new Map(found.map(({ file, touchedMs }) => [file, Math.floor(touchedMs / minute)]))
      const order = orderOf(uses).map((name) => minutes.get(name)!)
      expect(order).toEqual(order.toSorted((a, b) => a - b))
      expect(order).toHaveLength(found.length)
    }),
  )
})

async function* oneByOne(found: readonly FoundFile[]): AsyncGenerator<FoundFile> {
  yield* found
}
