import { expect, test } from 'vitest'
import { keysymsBetween } from './soft-keyboard.ts'

test('characters become X11 keysyms: Latin-1 as they are, others in the Unicode range', () => {
  expect(keysymsBetween('', 'aé')).toEqual([0x61, 0xe9])
  expect(keysymsBetween('', 'ł€')).toEqual([0x01000142, 0x010020ac])
})

test('deleting and line breaks are keys of their own', () => {
  expect(keysymsBetween('ab😀', 'ab')).toEqual([0xff08])
  expect(keysymsBetween('ab', 'ab\n')).toEqual([0xff0d])
})

test('a word that grows as it is composed is typed once, and one that is corrected anew from where it differs', () => {
  expect(keysymsBetween('he', 'hel')).toEqual([0x6c])
  expect(keysymsBetween('a teh', 'a the ')).toEqual([0xff08, 0xff08, 0x68, 0x65, 0x20])
})
