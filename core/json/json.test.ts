import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  bool,
  decodeJson,
  fields,
  fits,
  JsonError,
  kinds,
  list,
  nullish,
  number,
  object,
  oneOf,
  optional,
  record,
  type Shape,
  string,
  text,
  unknown,
  where,
  whole,
} from './index.ts'

const pet = object({
  name: text(/^[a-z]+$/, 'a name'),
  legs: where(whole(0, 8), (count) => count % 2 === 0, 'an even number'),
  sound: optional(string),
  tame: bool,
  eats: list(
    kinds({ grass: object({ kind: oneOf('grass') }), meat: object({ kind: oneOf('meat'), of: string }) }),
    1,
    2,
  ),
  weights: record(text(/^\d{4}$/, 'a year'), number(0, 1000)),
})
const cat = { name: 'cat', legs: 4, tame: true, eats: [{ kind: 'meat', of: 'mice' }], weights: { 2026: 4.5 } }

const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value))

test('what fits is given back as it is', () => {
  expect(decodeJson(bytesOf(cat), 1000, pet)).toEqual(cat)
  expect(fits(pet, { ...cat, sound: 'meow' })).toBe(true)
})

test.each([
  [[], 'expected an object, got a list'],
  [null, 'expected an object, got null'],
  [{ ...cat, name: 'Cat' }, 'name: expected a name, got "Cat"'],
  [{ ...cat, name: undefined }, 'name: expected a name, got nothing'],
  [{ ...cat, name: 'x'.repeat(1000) + 1 }, `name: expected a name, got "${'x'.repeat(100)}"`],
  [{ ...cat, legs: 3 }, 'legs: expected an even number, got 3'],
  [{ ...cat, legs: 10 }, 'legs: expected a number from 0 to 8, got 10'],
  [{ ...cat, legs: 2.5 }, 'legs: expected a whole number from 0 to 8, got 2.5'],
  [{ ...cat, legs: '4' }, 'legs: expected a whole number from 0 to 8, got "4"'],
  [{ ...cat, tame: 'yes' }, 'tame: expected true or false, got "yes"'],
  [{ ...cat, sound: null }, 'sound: expected text, got null'],
  [{ ...cat, eats: [] }, 'eats: expected 1 to 2 entries, got 0'],
  [{ ...cat, eats: {} }, 'eats: expected a list, got an object'],
  [{ ...cat, eats: [{ kind: 'grass', of: 'mice' }] }, 'eats.0.of: expected no member of this name'],
  [
    { ...cat, eats: [{ kind: 'grass' }, { kind: 'fish' }] },
    'eats.1.kind: expected "grass" or "meat", got "fish"',
  ],
  [{ ...cat, eats: [{ kind: 'toString' }] }, 'eats.0.kind: expected "grass" or "meat", got "toString"'],
  [{ ...cat, weights: { last: 4 } }, 'weights.last: expected a year, got "last"'],
  [{ ...cat, weights: { 2026: 5000 } }, 'weights.2026: expected a number from 0 to 1000, got 5000'],
  [{ ...cat, age: 3 }, 'age: expected no member of this name'],
])('%j is refused, and told where', (value, message) => {
  expect(() => pet(value)).toThrow(message)
  expect(() => decodeJson(bytesOf(value), 5000, pet)).toThrow(
    expect.objectContaining({ code: 'JSON_UNEXPECTED' }),
  )
  expect(fits(pet, value)).toBe(false)
})

test('of a name that the sender made a part is shown', () => {
  const long = { ...cat, ['x'.repeat(1000)]: 3 }
  expect(() => pet(long)).toThrow(/^x{100}: expected no member of this name$/)
})

test.each([
  ['JSON_TOO_LONG', Buffer.alloc(1001, ' ')],
  ['JSON_MALFORMED', Buffer.from('{')],
  ['JSON_MALFORMED', Buffer.from([0x22, 0xff, 0x22])],
  ['JSON_MALFORMED', Buffer.from('')],
])('%s', (code, bytes) => {
  expect(() => decodeJson(bytes, 1000, unknown)).toThrow(expect.objectContaining({ code }))
})

test('members of the prototype are no members, and those of their names are like others', () => {
  expect(() => fields({ constructor: string })({})).toThrow('got nothing')
  expect(() => object({})(JSON.parse('{"__proto__":1}'))).toThrow('__proto__')
  const odd = record(string, whole(0))(JSON.parse('{"__proto__":1}'))
  expect(Object.entries(odd)).toEqual([['__proto__', 1]])
})

test('what is null, or not looked at, is not there', () => {
  const shape = fields({ a: nullish(string), b: optional(string) })
  expect(shape({ a: null, c: 1 })).toEqual({})
  expect(Object.keys(shape({ a: 'x' }))).toEqual(['a'])
})

test('whatever it is and however deep, a value fits or is refused at a place that it has, or lacks', () => {
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`
  expect(() => decodeJson(Buffer.from(deep), 1e6, pet)).toThrow('got a list')
  const shapes: readonly Shape<unknown>[] = [pet, list(pet, 0, 3), record(string, pet)]
  fc.assert(
    fc.property(
      fc.constantFrom(...shapes),
      fc.oneof(fc.jsonValue(), fc.constant([cat]), mutated),
      (shape, value) => {
        try {
          expect(shape(value)).toEqual(value)
        } catch (error) {
          if (!(error instanceof JsonError)) throw error
          expect(parentOf(value, error.path)).toBeTypeOf(error.path.length === 0 ? typeof value : 'object')
        }
      },
    ),
    { numRuns: 1000 },
  )
})

/** A cat with one thing changed. */
const mutated = fc
  .tuple(fc.constantFrom(...Object.keys(cat), 'other'), fc.jsonValue())
  .map(([name, value]) => [{ ...cat, [name]: value }])

function parentOf(value: unknown, path: readonly (string | number)[]): unknown {
  return path.slice(0, -1).reduce<unknown>((found, place) => (found as Record<string, unknown>)[place], value)
}
