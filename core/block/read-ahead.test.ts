import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ReadAheadOptions, SequentialReads } from './read-ahead.ts'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

interface Asked {
  readonly offset: number
  readonly end: number
}

function detector(sizeBytes: number, options: Partial<ReadAheadOptions> = {}) {
  const asked: Asked[] = []
  const warm = (offset: number, length: number) => asked.push({ offset, end: offset + length })
  return { reads: new SequentialReads(sizeBytes, { warm, ...options }), asked }
}

describe('a reader in order', () => {
  test('is fetched for as soon as it is one, and always stays behind what was asked for', () => {
    const { reads, asked } = detector(40 * GiB)
    for (let read = 0; read < 400; read++) {
      reads.read(GiB + read * 128 * KiB, 128 * KiB)
      if (read >= 2) expect(asked.at(-1)?.end).toBeGreaterThan(GiB + (read + 1) * 128 * KiB)
    }
    expect(asked[0]?.offset).toBe(GiB + 3 * 128 * KiB)
  })

  test('is fetched for in windows that grow from 1 MiB to the largest', () => {
    const { reads, asked } = detector(40 * GiB, { maximumWindowBytes: 16 * MiB })
    const ahead: number[] = []
    for (let at = 0; at < 256 * MiB; at += 256 * KiB) {
      const before = asked.length
      reads.read(at, 256 * KiB)
      if (asked.length > before) ahead.push((asked.at(-1)?.end ?? 0) - at - 256 * KiB)
    }
    expect(ahead[0]).toBeLessThanOrEqual(2 * MiB)
    expect(ahead[0]).toBeGreaterThanOrEqual(MiB)
    expect(Math.max(...ahead)).toBeGreaterThanOrEqual(16 * MiB)
    expect(Math.max(...ahead)).toBeLessThanOrEqual(17 * MiB)
    // Few requests, and the same range is never in two.
    expect(asked.length).toBeLessThan(256 / 8 + 6)
    expect(union(asked)).toBe(asked.reduce((sum, { offset, end }) => sum + end - offset, 0))
  })

  test('is fetched for to the end of the disk and not beyond', () => {
    const sizeBytes = 10 * MiB + 777
    const { reads, asked } = detector(sizeBytes)
    for (let at = 0; at < sizeBytes; at += 64 * KiB) reads.read(at, Math.min(64 * KiB, sizeBytes - at))
    expect(asked.at(-1)?.end).toBe(sizeBytes)
  })

  test('may read small blocks, and its requests may overtake each other', () => {
    const { reads, asked } = detector(GiB)
    for (let at = 0; at < MiB; at += 4 * KiB) reads.read(at, 4 * KiB)
    const begun = asked.length
    for (let at = MiB; at < 16 * MiB; at += 512 * KiB) {
      reads.read(at + 256 * KiB, 256 * KiB)
      reads.read(at, 256 * KiB)
    }
    expect(begun).toBeGreaterThan(0)
    expect(asked.at(-1)?.end).toBeGreaterThan(16 * MiB)
    expect(union(asked)).toBe(asked.reduce((sum, { offset, end }) => sum + end - offset, 0))
  })
})

test('a reader who leaves gaps, as of small files that lie beside each other, is one in order', () => {
  const { reads, asked } = detector(GiB)
  const random = lcg()
  for (let section = 0; section < 64; section++) {
    const at = 128 * MiB + section * 256 * KiB + Math.floor(random() * 60) * 4 * KiB
    reads.read(at, 4 * KiB)
    reads.read(at + 8 * KiB, 4 * KiB)
  }
  expect(asked[0]?.offset).toBeLessThan(129 * MiB)
  expect(asked.at(-1)?.end).toBeGreaterThan(144 * MiB)
})

test('four connections, each with a section of its own, are each fetched for within the budget', () => {
  const { reads, asked } = detector(4 * GiB)
  const section = 128 * MiB
  for (let at = 0; at < section; at += 256 * KiB) {
    for (const connection of [0, 1, 2, 3]) reads.read(connection * section + at, 256 * KiB)
    if (at >= 16 * MiB && at < 96 * MiB) {
      const ahead = [0, 1, 2, 3].map((connection) => {
        const next = connection * section + at + 256 * KiB
        const ends = asked.filter(({ end }) => end <= (connection + 1) * section).map(({ end }) => end)
        return Math.max(...ends) - next
      })
      expect(Math.min(...ahead)).toBeGreaterThan(2 * MiB)
      expect(ahead.reduce((sum, bytes) => sum + bytes)).toBeLessThanOrEqual(36 * MiB)
    }
  }
  expect(union(asked)).toBe(asked.reduce((sum, { offset, end }) => sum + end - offset, 0))
})

test('a reader in order is found among readers in any order', () => {
  const { reads, asked } = detector(40 * GiB)
  const random = lcg()
  for (let step = 0; step < 1000; step++) {
    reads.read(step * 128 * KiB, 128 * KiB)
    for (let other = 0; other < 8; other++) {
      reads.read(GiB + Math.floor(random() * 9_000_000) * 4096, 4096)
    }
  }
  expect(asked.length).toBeGreaterThan(10)
  expect(asked.every(({ offset }) => offset < GiB)).toBe(true)
})

test('nothing is fetched for reads in any order', () => {
  const random = lcg()
  for (const blockBytes of [4 * KiB, 64 * KiB, 256 * KiB]) {
    const { reads, asked } = detector(40 * GiB)
    const blocks = (40 * GiB) / blockBytes
    for (let read = 0; read < 200_000; read++) {
      reads.read(Math.floor(random() * blocks) * blockBytes, blockBytes)
    }
    expect(asked).toEqual([])
  }
})

test('nothing is fetched for reads of what is in memory, however small the disk', () => {
  const { reads, asked } = detector(16 * MiB)
  const random = lcg()
  for (let read = 0; read < 100_000; read++) reads.read(Math.floor(random() * 4096) * 4096, 4096, true)
  expect(asked).toEqual([])
})

test('nothing is fetched for a reader that goes backward, or reads one place again and again', () => {
  const { reads, asked } = detector(GiB)
  for (let at = 512 * MiB; at > 0; at -= 256 * KiB) reads.read(at, 256 * KiB)
  for (let again = 0; again < 1000; again++) reads.read(8 * MiB, 512 * KiB)
  expect(asked).toEqual([])
})

test('whatever is read, what is asked for lies on the disk and is no more than a window', () => {
  const sizeBytes = 64 * MiB + 4096
  const step = fc.record({
    reader: fc.nat({ max: 5 }),
    length: fc.integer({ min: 1, max: 512 * KiB }),
    jump: fc.option(fc.nat({ max: sizeBytes - 1 }), { freq: 20 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600, size: 'max' }), (steps) => {
      const { reads, asked } = detector(sizeBytes)
      const places = [0, 8, 16, 24, 32, 40].map((mebibytes) => mebibytes * MiB)
      for (const { reader, length, jump } of steps) {
        const offset = jump ?? places[reader] ?? 0
        const before = asked.length
        const read = Math.min(length, sizeBytes - offset)
        if (read > 0) reads.read(offset, read)
        places[reader] = offset + read
        const next = asked[before]
        expect(asked.length - before).toBeLessThanOrEqual(1)
        if (next === undefined) continue
        expect(next.offset).toBeGreaterThanOrEqual(0)
        expect(next.end).toBeGreaterThan(next.offset)
        expect(next.end).toBeLessThanOrEqual(sizeBytes)
        expect(next.end - next.offset).toBeLessThanOrEqual(10 * MiB)
      }
    }),
    { numRuns: 200 },
  )
})

test('readers that meet are not fetched for twice', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 128 }), { minLength: 2, maxLength: 6 }),
      fc.array(fc.nat({ max: 5 }), { minLength: 200, maxLength: 900, size: 'max' }),
      (starts, turns) => {
        const { reads, asked } = detector(GiB)
        const places = starts.map((start) => start * MiB)
        for (const turn of turns) {
          const reader = turn % places.length
          const at = places[reader] ?? 0
          const before = asked.length
          reads.read(at, 256 * KiB)
          places[reader] = at + 256 * KiB
          const next = asked[before]
          if (next === undefined) continue
          const lowest = Math.min(...places)
          // Only what somebody has passed may be asked for again.
          const ahead = asked.slice(0, before).filter(({ end }) => end > lowest)
          const twice = ahead.filter(({ offset, end }) => offset < next.end && end > next.offset)
          for (const { offset } of twice) {
            const from = Math.max(offset, next.offset)
            expect(places.some((place) => place > from)).toBe(true)
          }
        }
      },
    ),
    { numRuns: 200 },
  )
})

/** Bytes that are in at least one. */
function union(ranges: readonly Asked[]): number {
  let bytes = 0
  let reached = 0
  for (const { offset, end } of ranges.toSorted((a, b) => a.offset - b.offset)) {
    bytes += Math.max(0, end - Math.max(reached, offset))
    reached = Math.max(reached, end)
  }
  return bytes
}

/** Numbers in [0, 1), the same in each run. */
function lcg(): () => number {
  let state = 12_345
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
