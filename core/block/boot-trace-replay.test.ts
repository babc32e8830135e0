import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { BootTrace } from './boot-trace.ts'
import { piecesOf, replayTrace } from './boot-trace-replay.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** Ranges of 256 KiB at these places, in 256 KiB. */
function traceOf(...places: number[]): BootTrace {
  return { ranges: places.map((place) => ({ offset: place * 256 * KiB, length: 256 * KiB, atMs: 0 })) }
}

function placesOf(trace: BootTrace): [number, number][] {
  return Array.from(piecesOf(trace), ({ offset, length }) => [offset / KiB / 256, length / KiB / 256])
}

test('neighbours are fetched together, up to 1 MiB, where the first of them stands', () => {
  expect(placesOf(traceOf(9, 0, 1, 2, 3, 4, 7))).toEqual([
    [9, 1],
    [0, 4],
    [4, 1],
    [7, 1],
  ])
})

test('readers that take turns are told apart, but what comes much later stays later', () => {
  expect(placesOf(traceOf(0, 100, 1, 101, 2, 102))).toEqual([
    [0, 3],
    [100, 3],
  ])
  const between = Array.from({ length: 70 }, (_, index) => 1000 + 2 * index)
  const pieces = placesOf(traceOf(0, ...between, 1))
  expect(pieces[0]).toEqual([0, 1])
  expect(pieces.at(-1)).toEqual([1, 1])
})

test('long ranges are fetched in pieces', () => {
  const trace = { ranges: [{ offset: 512, length: 2 * MiB + 1, atMs: 0 }] }
  expect(Array.from(piecesOf(trace))).toEqual([
    { offset: 512, length: MiB },
    { offset: 512 + MiB, length: MiB },
    { offset: 512 + 2 * MiB, length: 1 },
  ])
})

test('the pieces are the trace: every byte once, none of more than 1 MiB', () => {
  const places = fc.uniqueArray(fc.nat({ max: 300 }), { maxLength: 250 })
  fc.assert(
    fc.property(places, (numbers) => {
      const pieces = placesOf(traceOf(...numbers))
      const covered = pieces.flatMap(([place, count]) =>
        Array.from({ length: count }, (_, step) => place + step),
      )
      expect(covered.toSorted((a, b) => a - b)).toEqual(numbers.toSorted((a, b) => a - b))
      for (const [, count] of pieces) expect(count).toBeLessThanOrEqual(4)
    }),
  )
})

test('as many are under way as may be, and all have settled at the end', async () => {
  const trace = traceOf(...Array.from({ length: 100 }, (_, index) => index * 2))
  const asked: number[] = []
  let running = 0
  let most = 0
  const warm = async (offset: number): Promise<void> => {
    asked.push(offset / KiB / 512)
    running += 1
    most = Math.max(most, running)
    for (let turn = 0; turn < 1 + (offset % 7); turn++) await Promise.resolve()
    running -= 1
  }
  await replayTrace(trace, warm, { signal: new AbortController().signal })
  expect(most).toBe(16)
  expect(running).toBe(0)
  expect(asked).toEqual(Array.from({ length: 100 }, (_, index) => index))
})

test('nothing more is asked for when the signal ended it', async () => {
  const ending = new AbortController()
  let asked = 0
  const warm = async (): Promise<void> => {
    asked += 1
    if (asked === 5) ending.abort()
  }
  const trace = traceOf(...Array.from({ length: 100 }, (_, index) => index * 2))
  await replayTrace(trace, warm, { signal: ending.signal, concurrency: 2 })
  expect(asked).toBe(5)
  await replayTrace(trace, warm, { signal: ending.signal })
  expect(asked).toBe(5)
})
