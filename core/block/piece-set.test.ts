import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PieceSet } from './piece-set.ts'

const pieces = 200
const step = fc.record({
  adds: fc.boolean(),
  first: fc.nat({ max: pieces - 1 }),
  count: fc.oneof(fc.constant(1), fc.nat({ max: pieces })),
})

test('a set of pieces holds what a set of numbers holds', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const set = new PieceSet(pieces)
      const model = new Set<number>()
      for (const { adds, first, count } of steps) {
        if (adds) set.add(first, count)
        else set.delete(first, count)
        for (let piece = first; piece < Math.min(pieces, first + count); piece++) {
          if (adds) model.add(piece)
          else model.delete(piece)
        }
      }
      const expected = [...model].toSorted((a, b) => a - b)
      expect(set.size).toBe(model.size)
      expect(membersOf(set)).toEqual(expected)
      expect(membersOf(set.clone())).toEqual(expected)
      expect(Array.from({ length: pieces }, (_, piece) => set.has(piece))).toEqual(
        Array.from({ length: pieces }, (_, piece) => model.has(piece)),
      )
      for (const from of [0, 31, 32, 100, pieces - 1])
        expect(set.next(from)).toBe(expected.find((piece) => piece >= from))
      const both = new PieceSet(pieces)
      both.add(7)
      both.addAll(set)
      expect(both.size).toBe(new Set([7, ...expected]).size)
    }),
  )
})

function membersOf(set: PieceSet): number[] {
  return [...set.runs()].flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at))
}
