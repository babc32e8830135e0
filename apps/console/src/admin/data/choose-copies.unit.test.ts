import { expect, test } from 'vitest'
import type { DataCopy } from '#core/api/data.ts'
import { chooseCopies, orderCopies } from './choose-copies.ts'

function copy(id: string, more: Partial<DataCopy>): DataCopy {
  return {
    id,
    sessionId: id,
    workspace: { id: 'lab', name: 'Laboratory' },
    person: { id: 'p', login: 'nora', name: 'Nora Lind' },
    machine: { id: 'm', name: 'laptop-7', kind: 'endpoint', online: true },
    mode: 'streamed-disk',
    place: 'endpoint',
    zone: { name: 'office', kind: 'inside' },
    state: 'held',
    protection: ['key-in-memory'],
    since: '2026-08-01T10:00:00.000Z',
    ...more,
  }
}

const copies = [
  copy('a', {}),
  copy('b', {
    zone: { name: 'cafe', kind: 'hostile' },
    machine: { id: 'n', name: 'laptop-2', kind: 'endpoint', online: true },
  }),
  copy('c', {
    mode: 'hosted-shared',
    place: 'datacenter',
    zone: { name: 'home', kind: 'outside' },
    state: 'in-use',
  }),
]
const idsOf = (list: readonly DataCopy[]): string => list.map(({ id }) => id).join('')

test.each([
  ['all words must be found', { wanted: 'nora LAPTOP-2', area: undefined }, 'b'],
  ['words of states and modes are found as they are shown', { wanted: 'shared host', area: undefined }, 'c'],
  ['a zone has only what is on endpoints there', { wanted: '', area: 'outside' as const }, ''],
  [
    'what is hosted is in the data centre, wherever its person is',
    { wanted: '', area: 'datacenter' as const },
    'c',
  ],
  ['nothing wanted shows everything', { wanted: '  ', area: undefined }, 'abc'],
])('%s', (_, choice, ids) => {
  expect(idsOf(chooseCopies(copies, choice))).toBe(ids)
})

test('the worst places come first, and the other way round last', () => {
  expect(idsOf(orderCopies(copies, { by: 'Where', descending: false }))).toBe('bac')
  expect(idsOf(orderCopies(copies, { by: 'Where', descending: true }))).toBe('cab')
})
