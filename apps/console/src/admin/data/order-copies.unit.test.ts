import { expect, test } from 'vitest'
import type { DataCopy } from '#core/api/data.ts'
import { orderCopies } from './order-copies.ts'

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

test('the worst places come first, and the other way round last', () => {
  expect(idsOf(orderCopies(copies, { by: 'Where', descending: false }))).toBe('bac')
  expect(idsOf(orderCopies(copies, { by: 'Where', descending: true }))).toBe('cab')
})
