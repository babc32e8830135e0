import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type BootTrace,
  decodeTrace,
  encodeTrace,
  fitTrace,
  maximumRangeBytes,
  maximumTraceBytes,
  maximumTraceMs,
  maximumTraceRanges,
  type TraceRange,
} from './boot-trace.ts'

const traces: fc.Arbitrary<BootTrace> = fc
  .array(
    fc.record({
      gap: fc.nat({ max: 2 ** 30 }),
      length: fc.integer({ min: 1, max: maximumRangeBytes }),
      wait: fc.nat({ max: 100 }),
      order: fc.nat(),
    }),
    { maxLength: 300 },
  )
  .map((steps) => {
    let end = 0
    const places = steps.map(({ gap, length, order }) => {
      const offset = end + gap
      end = offset + length
      return { offset, length, order }
    })
    let atMs = 0
    const ranges = places
      .toSorted((a, b) => a.order - b.order)
      .map(({ offset, length }, index) => {
        atMs += steps[index]?.wait ?? 0
        return { offset, length, atMs }
      })
    return { ranges }
  })

test('a trace is what it was after it was encoded, and fits the disk that it was recorded on', () => {
  fc.assert(
    fc.property(traces, (trace) => {
      const decoded = decodeTrace(encodeTrace(trace))
      expect(decoded).toEqual(trace)
      const end = Math.max(0, ...trace.ranges.map(({ offset, length }) => offset + length))
      expect(fitTrace(decoded, end)).toBe(decoded)
      expect(fitTrace(decoded, BigInt(end))).toBe(decoded)
      if (end > 0) expect(() => fitTrace(decoded, end - 1)).toThrow(coded('TRACE_BEYOND_DISK'))
    }),
  )
})

test('its bytes are what they have always been', () => {
  const trace = {
    ranges: [
      { offset: 1_048_576, length: 262_144, atMs: 0 },
      { offset: 0, length: 4096, atMs: 17 },
    ],
  }
  expect(Buffer.from(encodeTrace(trace)).toString()).toBe(
    '{"version":1,"ranges":[[1048576,262144,0],[0,4096,17]]}',
  )
  expect(encodeTrace({ ranges: [] })).toEqual(Buffer.from('{"version":1,"ranges":[]}'))
})

test('the largest trace is small enough', () => {
  const ranges = Array.from({ length: maximumTraceRanges }, (_, index) => ({
    offset: Number.MAX_SAFE_INTEGER - (index + 1) * maximumRangeBytes,
    length: maximumRangeBytes,
    atMs: maximumTraceMs,
  }))
  const bytes = encodeTrace({ ranges })
  expect(bytes.length).toBeLessThanOrEqual(maximumTraceBytes)
  expect(decodeTrace(bytes).ranges).toHaveLength(maximumTraceRanges)
})

test('any bytes decode or throw a coded error', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 512 }),
        fc.json().map((text) => Buffer.from(text)),
        mutated(),
      ),
      (bytes) => {
        try {
          expect(encodeTrace(decodeTrace(bytes))).toEqual(Buffer.from(bytes))
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^TRACE_/), remedy: expect.any(String) })
        }
      },
    ),
    { numRuns: 2000 },
  )
})

describe('what is refused', () => {
  const range: TraceRange = { offset: 0, length: 4096, atMs: 5 }
  const bad: Readonly<Record<string, readonly TraceRange[]>> = {
    'a range of nothing': [{ ...range, length: 0 }],
    'a range that is too long': [{ ...range, length: maximumRangeBytes + 1 }],
    'a range before the disk': [{ ...range, offset: -4096 }],
    'a range beyond every disk': [{ ...range, offset: Number.MAX_SAFE_INTEGER }],
    'half a byte': [{ ...range, offset: 0.5 }],
    'no number': [{ ...range, length: Number.NaN }],
    'a time that goes back': [range, { offset: 4096, length: 1, atMs: 4 }],
    'a time that is too long': [{ ...range, atMs: maximumTraceMs + 1 }],
    'a byte twice': [range, { offset: 4095, length: 1, atMs: 5 }],
    'a range twice': [range, range],
  }
  test.each(Object.entries(bad))('%s', (_, ranges) => {
    expect(() => encodeTrace({ ranges })).toThrow(coded('TRACE_MALFORMED'))
    const text = JSON.stringify({
      version: 1,
      ranges: ranges.map((one) => [one.offset, one.length, one.atMs]),
    })
    expect(() => decodeTrace(Buffer.from(text))).toThrow(coded('TRACE_MALFORMED'))
  })

  test.each([
    ['{"version":2,"ranges":[]}', 'another version'],
    ['{"ranges":[],"version":1}', 'another order'],
    ['{"version":1,"ranges":[], "more":1}', 'something more'],
    [' {"version":1,"ranges":[]}', 'another spelling'],
    ['{"version":1,"ranges":[[0,4096,1e0]]}', 'another spelling of a number'],
    ['{"version":1,"ranges":[[0,4096,1,1]]}', 'a fourth number'],
    ['{"version":1,"ranges":[[0,4096]]}', 'only two numbers'],
    ['{"version":1,"ranges":{}}', 'no list'],
    ['null', 'nothing'],
    ['', 'no bytes'],
  ])('%s: %s', (text) => {
    expect(() => decodeTrace(Buffer.from(text))).toThrow(coded('TRACE_MALFORMED'))
  })

  test('a zero that would be another one when it is decoded', () => {
    expect(() => encodeTrace({ ranges: [{ ...range, offset: -0 }] })).toThrow(coded('TRACE_MALFORMED'))
  })

  test('a trace that is too large, in bytes or ranges', () => {
    expect(() => decodeTrace(Buffer.alloc(maximumTraceBytes + 1, ' '))).toThrow(coded('TRACE_TOO_LARGE'))
    const ranges = Array.from({ length: maximumTraceRanges + 1 }, (_, offset) => ({
      offset,
      length: 1,
      atMs: 0,
    }))
    expect(() => encodeTrace({ ranges })).toThrow(coded('TRACE_TOO_LARGE'))
  })
})

/** A trace with a few bytes altered. */
function mutated(): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(
      traces,
      fc.array(fc.tuple(fc.nat(), fc.constantFrom(...Array.from('0123456789,[]-.e "'))), { maxLength: 3 }),
    )
    .map(([trace, changes]) => {
      const bytes = Buffer.from(encodeTrace(trace))
      for (const [at, character] of changes) bytes.write(character, at % bytes.length, 'latin1')
      return bytes
    })
}

function coded(code: string): Error {
  return expect.objectContaining({ code }) as Error
}
