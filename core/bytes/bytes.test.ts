import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  BytesError,
  concatBytes,
  constantTimeEqual,
  decodeBase64url,
  decodeHex,
  decodeUtf8,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
  Reader,
  Writer,
} from './index.ts'

const bytes = fc.uint8Array({ maxLength: 200 })

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    if (error instanceof BytesError) return error.code
    throw error
  }
}

test('a reader gives back what a writer wrote', () => {
  fc.assert(
    fc.property(
      fc.nat(0xff),
      fc.nat(0xffff),
      fc.nat(0xffffffff),
      fc.bigInt(0n, (1n << 64n) - 1n),
      fc.integer(),
      bytes,
      (a, b, c, d, e, tail) => {
        const written = new Writer(1000).u8(a).u16(b).u32(c).u64(d).i32(e).bytes(tail).finish()
        const fields = new Reader(written)
        expect([fields.u8(), fields.u16(), fields.u32(), fields.u64(), fields.i32()]).toEqual([a, b, c, d, e])
        expect(fields.offset).toBe(19)
        expect(fields.rest(200)).toEqual(tail)
        fields.end()
      },
    ),
  )
})

const reader = (): Reader => new Reader(Uint8Array.of(1, 2, 3))

test('a reader never reads past the end and never ends early', () => {
  expect(codeOf(() => reader().u32())).toBe('BYTES_SHORT')
  expect(codeOf(() => reader().u64())).toBe('BYTES_SHORT')
  expect(codeOf(() => reader().bytes(4))).toBe('BYTES_SHORT')
  expect(codeOf(() => reader().skip(-1))).toBe('BYTES_RANGE')
  expect(codeOf(() => reader().rest(2))).toBe('BYTES_TOO_LONG')
  expect(codeOf(() => reader().end())).toBe('BYTES_TOO_LONG')
})

test('a reader respects the borders of a view into a larger buffer', () => {
  const view = new Reader(Uint8Array.of(9, 1, 2, 9).subarray(1, 3))
  expect(view.u16()).toBe(0x0102)
  expect(codeOf(() => view.u8())).toBe('BYTES_SHORT')
})

test('a writer refuses numbers that do not fit and more than its maximum', () => {
  expect(codeOf(() => new Writer(9).u8(256))).toBe('BYTES_RANGE')
  expect(codeOf(() => new Writer(9).u16(-1))).toBe('BYTES_RANGE')
  expect(codeOf(() => new Writer(9).u32(1.5))).toBe('BYTES_RANGE')
  expect(codeOf(() => new Writer(9).u64(1n << 64n))).toBe('BYTES_RANGE')
  expect(codeOf(() => new Writer(9).u64(0n).u16(0))).toBe('BYTES_TOO_LONG')
})

test('hex, base64url and UTF-8 give back what went in', () => {
  fc.assert(
    fc.property(bytes, fc.string({ unit: 'grapheme' }), (value, text) => {
      expect(decodeHex(encodeHex(value))).toEqual(value)
      expect(decodeBase64url(encodeBase64url(value))).toEqual(value)
      expect(encodeBase64url(value)).toBe(Buffer.from(value).toString('base64url'))
      expect(decodeUtf8(encodeUtf8(text))).toBe(text)
    }),
  )
})

test('other spellings and broken text are refused with a code', () => {
  for (const text of ['0', 'zz', '0g']) expect(codeOf(() => decodeHex(text))).toBe('BYTES_ENCODING')
  for (const text of ['A', 'AB', 'AA==', 'A A', '+/+/'])
    expect(codeOf(() => decodeBase64url(text))).toBe('BYTES_ENCODING')
  expect(codeOf(() => decodeUtf8(Uint8Array.of(0xff)))).toBe('BYTES_ENCODING')
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const decode of [decodeHex, decodeBase64url]) {
        expect([undefined, 'BYTES_ENCODING']).toContain(codeOf(() => decode(text)))
      }
    }),
  )
})

test('constant-time equality agrees with plain equality', () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(constantTimeEqual(a, b)).toBe(encodeHex(a) === encodeHex(b))
      expect(constantTimeEqual(a, a.slice())).toBe(true)
      expect(concatBytes(a, b)).toEqual(new Uint8Array([...a, ...b]))
    }),
  )
})

test('a writer that grows in the middle of numbers keeps them all', () => {
  const writer = new Writer(4000)
  for (let value = 0; value < 1000; value++) writer.i32(value)
  const reader = new Reader(writer.finish())
  for (let value = 0; value < 1000; value++) expect(reader.u32()).toBe(value)
})
