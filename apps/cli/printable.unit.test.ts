import { expect, test } from 'vitest'
import { CliError } from './cli-error.ts'
import { table } from './command.ts'
import { errorText } from './error-text.ts'
import { printableJson, printableLines } from './printable.ts'

const hostile = 'gone\u001b[1A\u001b[2K\r\u009b2J\u202e\u200b\u{e0041}'

test('no text for people moves the cursor or turns its direction, and its lines stay', () => {
  const shown = printableLines(`${hostile}\nJosé — 12 → 13 …`)
  expect(shown).toBe('gone?[1A?[2K??2J???\nJosé — 12 → 13 …')
  const error = errorText(new CliError('CLI_OTHER_SITE', hostile, { remedy: hostile }))
  expect(error.replaceAll('\n', '')).not.toMatch(/\p{C}/u)
})

test('a cell of a table makes no row of its own', () => {
  expect(table(['NAME'], [['one\ntwo'], [hostile]]).split('\n')).toEqual([
    'NAME',
    'one?two',
    'gone?[1A?[2K??2J???',
  ])
})

test('JSON is the same value, without a character that a terminal obeys', () => {
  const value = { name: hostile, 'é\u2028': ['→', 1, null] }
  const text = printableJson(value)
  expect(JSON.parse(text)).toEqual(value)
  expect(text).not.toMatch(/[\p{C}\p{Zl}]/u)
})
