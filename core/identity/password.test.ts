import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { prepareNewPassword, preparePassword } from './password.ts'

test('a password is the same however its letters and spaces were typed', () => {
  expect(preparePassword('cafe\u0301 au\u00a0lait')).toBe(preparePassword('café au lait'))
  expect(preparePassword('  Case and ends count ')).toBe('  Case and ends count ')
})

test.each([
  ['eleven char', 'IDENTITY_PASSWORD_TOO_SHORT'],
  ['🦊🦊🦊🦊🦊🦊', 'IDENTITY_PASSWORD_TOO_SHORT'],
  ['abcd '.repeat(205), 'IDENTITY_PASSWORD_TOO_LONG'],
  ['a line\nand another', 'IDENTITY_PASSWORD_MALFORMED'],
  ['half of a pair \ud83e', 'IDENTITY_PASSWORD_MALFORMED'],
  ['123456789012', 'IDENTITY_PASSWORD_COMMON'],
  ['098765432109', 'IDENTITY_PASSWORD_COMMON'],
  ['aaaaaaaaaaaaaaab', 'IDENTITY_PASSWORD_COMMON'],
  ['Password12345', 'IDENTITY_PASSWORD_COMMON'],
  ['P@ssw0rd!2026', 'IDENTITY_PASSWORD_COMMON'],
  ['passwordpassword', 'IDENTITY_PASSWORD_COMMON'],
  ['qwertyuiop12', 'IDENTITY_PASSWORD_COMMON'],
  ['abcdefghijklm', 'IDENTITY_PASSWORD_COMMON'],
  ['Correct Horse Battery Staple', 'IDENTITY_PASSWORD_COMMON'],
  ['maria.keller2026', 'IDENTITY_PASSWORD_COMMON'],
])('%j is refused with %s', (text, code) => {
  expect(() => prepareNewPassword(text, ['maria.keller'])).toThrow(expect.objectContaining({ code }))
})

test.each([
  'walnut ferry oblige sieve',
  'kJ8#vQ2!mZ5x',
  '837261947203',
  'Pässwörter sind öde',
  'x'.repeat(3) + 'yzw '.repeat(255),
])('%j is taken', (text) => {
  expect(prepareNewPassword(text, ['maria', 'a'])).toBe(text)
})

test('any text is prepared once and for all, or refused with a code', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 3000, size: 'max' }), (text) => {
      try {
        const prepared = preparePassword(text)
        expect(preparePassword(prepared)).toBe(prepared)
      } catch (error) {
        expect(error).toSatisfy(isCoded)
      }
    }),
  )
})
