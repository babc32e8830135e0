import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { eventLines } from './event-lines.ts'

function parse(chunks: readonly string[], maxChars?: number): string[] {
  const events: string[] = []
  const take = eventLines((data) => events.push(data), maxChars)
  for (const chunk of chunks) take(chunk)
  return events
}

test('data lines make events; comments and unknown fields do not', () => {
  expect(parse([': ping\n\ndata: {"a":1}\n\nid: 7\ndata:x\r\ndata: y\r\n\r\n'])).toEqual(['{"a":1}', 'x\ny'])
})

test('an event that is not finished is not told', () => {
  expect(parse(['data: {"a":1}\n'])).toEqual([])
})

test('it does not matter where the stream is cut', () => {
  const stream = 'data: one\n\n: ping\n\ndata: two\ndata: three\n\n'
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length), { maxLength: 6 }), (cuts) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), stream.length]
      expect(parse(at.slice(1).map((end, index) => stream.slice(at[index], end)))).toEqual([
        'one',
        'two\nthree',
      ])
    }),
  )
})

test('a stream without line ends, or an event without an end, is refused at its bound', () => {
  expect(() => parse(['x'.repeat(60), 'x'.repeat(60)], 100)).toThrow(RangeError)
  expect(() => parse(Array<string>(20).fill('data: 12345\n'), 100)).toThrow(RangeError)
})
