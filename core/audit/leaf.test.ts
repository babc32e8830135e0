import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { AuditError } from './errors.ts'
import {
  ACTOR_TYPES,
  AUDIT_KINDS,
  type AuditData,
  type AuditEntry,
  decodeEntry,
  encodeEntry,
} from './leaf.ts'

const entry: AuditEntry = {
  kind: 'decision',
  at: '2026-03-01T12:00:00.000Z',
  actor: { type: 'site', id: 'site' },
  subject: 'ada',
  data: { b: [1, null, true], a: 'é\u000f"\\', '€': { x: -7 }, '😀': '', ב: 2 },
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()
const refused: unknown = expect.objectContaining({ code: 'AUDIT_BAD_ENTRY' })

test('an entry is canonical JSON: sorted by UTF-16 code units, without spaces', () => {
  expect(text(encodeEntry(entry))).toBe(
    '{"actor":{"id":"site","type":"site"},"at":"2026-03-01T12:00:00.000Z",' +
      '"data":{"a":"é\\u000f\\"\\\\","b":[1,null,true],"ב":2,"€":{"x":-7},"😀":""},"kind":"decision","subject":"ada"}',
  )
})

const data: fc.Arbitrary<AuditData> = fc.letrec<{ value: AuditData }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger().map((n) => n + 0),
    fc.string({ unit: 'grapheme' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string(), tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value

test('what is encoded is decoded to the same', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...AUDIT_KINDS),
      fc.constantFrom(...ACTOR_TYPES),
      data,
      (kind, type, data) => {
        const one: AuditEntry = { at: entry.at, kind, actor: { type, id: 'x' }, data }
        const bytes = encodeEntry(one)
        expect(encodeEntry(decodeEntry(bytes))).toEqual(bytes)
        expect(JSON.stringify(decodeEntry(bytes).data)).toHaveLength(JSON.stringify(data).length)
      },
    ),
  )
})

test('what JSON cannot hold exactly is refused', () => {
  const nested = (depth: number): AuditData => (depth === 0 ? 0 : [nested(depth - 1)])
  expect(() => encodeEntry({ ...entry, data: nested(31) })).not.toThrow()
  const wrong: unknown[] = [
    1.5,
    2 ** 53,
    -0,
    Number.NaN,
    '\ud800',
    { '\udfff': 1 },
    undefined,
    1n,
    new Date(),
    nested(40),
  ]
  for (const data of wrong) expect(() => encodeEntry({ ...entry, data: data as AuditData })).toThrow(refused)
  expect(() => encodeEntry({ ...entry, data: 'x'.repeat(65_536) })).toThrow(refused)
})

test('only the canonical form of a known entry is decoded', () => {
  const canonical = text(encodeEntry(entry))
  const wrong = [
    canonical.replace(',', ', '),
    canonical.replace('"kind":"decision",', '').replace('{"actor"', '{"kind":"decision","actor"'),
    canonical.replace('"decision"', '"rumour"'),
    canonical.replace('"type":"site"', '"type":"cat"'),
    canonical.replace('"id":"site"', '"id":""'),
    canonical.replace('"subject":"ada"', '"subject":""'),
    canonical.replace('.000Z', 'Z'),
    canonical.replace('-03-01', '-02-30'),
    canonical.replace('"x":-7', '"x":-7.0'),
    canonical.replace('"x":-7', '"x":-7,"x":-7'),
    canonical.replace('"subject"', '"sujet"'),
    `\ufeff${canonical}`,
    '[]',
    'null',
    '',
    '['.repeat(60_000),
    ' '.repeat(65_536),
  ]
  for (const one of wrong) expect(() => decodeEntry(Buffer.from(one)), one.slice(0, 200)).toThrow(refused)
})

test('arbitrary bytes are an entry or are refused with a code', () => {
  const canonical = encodeEntry(entry)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(canonical.length), (bytes, at) => {
      for (const input of [
        bytes,
        Buffer.concat([canonical.subarray(0, at), bytes, canonical.subarray(at + bytes.length)]),
      ]) {
        try {
          expect(encodeEntry(decodeEntry(input))).toEqual(Buffer.from(input))
        } catch (error) {
          expect(error).toBeInstanceOf(AuditError)
        }
      }
    }),
    { numRuns: 1000 },
  )
})
