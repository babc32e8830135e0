import { expect, test } from 'vitest'
import { threeCopies as copies, idsOf } from './copies.fixture.ts'
import { choosing } from './index.ts'

test.each([
  ['all words must be found', { search: 'nora LAPTOP-2', area: undefined }, 'b'],
  ['words of states and modes are found as they are shown', { search: 'shared host', area: undefined }, 'c'],
  ['a zone has only what is on endpoints there', { search: '', area: 'outside' as const }, ''],
  [
    'what is hosted is in the data centre, wherever its person is',
    { search: '', area: 'datacenter' as const },
    'c',
  ],
  ['nothing wanted shows everything', { search: '  ', area: undefined }, 'abc'],
])('%s', (_, choice, ids) => {
  expect(idsOf(copies.filter(choosing(choice)))).toBe(ids)
})
