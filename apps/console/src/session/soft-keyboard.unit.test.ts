import { expect, test } from 'vitest'
import { keysymsOf } from './soft-keyboard.ts'

test('characters become X11 keysyms: Latin-1 as they are, others in the Unicode range', () => {
  expect(keysymsOf('insertText', 'aé')).toEqual([0x61, 0xe9])
  expect(keysymsOf('insertText', 'ł€')).toEqual([0x01000142, 0x010020ac])
})

test('deleting and line breaks are keys of their own', () => {
  expect(keysymsOf('deleteContentBackward', null)).toEqual([0xff08])
  expect(keysymsOf('insertLineBreak', null)).toEqual([0xff0d])
})
