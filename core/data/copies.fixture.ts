import type { DataCopy } from '#core/api/data.ts'

/** A copy on an endpoint, as far as it does not matter to a test. */
export function copyOf(id: string, more: Partial<DataCopy> = {}): DataCopy {
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

/** `a` on an endpoint inside, `b` on one in a hostile network, `c` in the data centre, seen from outside. */
export const threeCopies: readonly DataCopy[] = [
  copyOf('a'),
  copyOf('b', {
    zone: { name: 'cafe', kind: 'hostile' },
    machine: { id: 'n', name: 'laptop-2', kind: 'endpoint', online: true },
  }),
  copyOf('c', {
    mode: 'hosted-shared',
    place: 'datacenter',
    zone: { name: 'home', kind: 'outside' },
    state: 'in-use',
  }),
]

export function idsOf(copies: readonly DataCopy[]): string {
  return copies.map(({ id }) => id).join('')
}
