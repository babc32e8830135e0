import { expect, test } from 'vitest'
import type { DataCopy } from '#core/api/data.ts'
import { choosing } from './index.ts'

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
