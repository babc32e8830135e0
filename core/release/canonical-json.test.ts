import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalJson, decodeJsonFile, encodeJsonFile, type Json } from './canonical-json.ts'
import { codeOf } from './release.fixture.ts'

const json: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.maxSafeInteger().filter((number) => !Object.is(number, -0)),
    fc.string({ unit: 'binary' }),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ unit: 'binary' }), tie('value'), { maxKeys: 4 }),
  ),
})).value

test('what is written is read again', () => {
  fc.assert(
    fc.property(json, (value) => {
      expect(decodeJsonFile(encodeJsonFile(value as Json), 1_000_000)).toEqual(value)
    }),
  )
})

test('what is signed has sorted names and escapes only quotes and backslashes', () => {
  const value = { b: 'line\nbreak', a: ['"', '\\', 1, true, null] }
  expect(Buffer.from(canonicalJson(value)).toString()).toBe(
    '{"a":["\\"","\\\\",1,true,null],"b":"line\nbreak"}',
  )
  expect(Buffer.from(encodeJsonFile(value)).toString()).toBe(
    '{"a":["\\"","\\\\",1,true,null],"b":"line\\nbreak"}',
  )
})

test.each([
  ['white space', '{ "a":1}'],
  ['unsorted names', '{"b":1,"a":1}'],
  ['a name twice', '{"a":1,"a":2}'],
  ['a fraction', '{"a":1.5}'],
  ['another spelling of a number', '{"a":1e2}'],
  ['minus zero', '{"a":-0}'],
  ['a number that is not exact', '{"a":9007199254740993}'],
  ['an escape that is not needed', '{"a":"\\u0041"}'],
  ['a lone surrogate', '{"a":"\\ud800"}'],
  ['no JSON', '{'],
  ['too many levels', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ['too many bytes', `"${'a'.repeat(1_000_000)}"`],
])('%s is refused', async (_, text) => {
  expect(await codeOf(() => decodeJsonFile(Buffer.from(text), 1_000_000))).toBe('RELEASE_MALFORMED')
})

test('bytes that are not UTF-8 are refused', async () => {
  expect(await codeOf(() => decodeJsonFile(Uint8Array.of(0x22, 0xff, 0x22), 10))).toBe('RELEASE_MALFORMED')
})
