import { expect, test } from 'vitest'
import { lineOf } from './line-of.ts'

test('the line is read from the message of an error', () => {
  expect(lineOf('expected `;` at line 12, column 3')).toBe(12)
  expect(lineOf('Line 4: unknown action')).toBe(4)
  expect(lineOf('the deadline 7 has passed')).toBeUndefined()
  expect(lineOf('no place is named')).toBeUndefined()
})
