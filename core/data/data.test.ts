import { expect, test } from 'vitest'
import type { DataCopy } from '#core/api/data.ts'
import { protections } from '#core/api/data.ts'
import { copyOf } from './copies.fixture.ts'
import { addToSummary, csvOf, emptySummary, outlookSentences, protectionSentences } from './index.ts'

const copy = copyOf('l1', {
  leaseId: 'l1',
  image: { name: 'office', version: '1', manifestDigest: 'ab' },
  protection: ['key-in-memory', 'overlay-kept'],
  until: '2026-08-01T10:40:00.000Z',
})
const hosted: DataCopy = {
  ...copy,
  mode: 'hosted-shared',
  place: 'datacenter',
  state: 'in-use',
  zone: { name: 'home', kind: 'outside' },
}
const clock = (instant: string): string => instant.slice(11, 16)

test('each protection is a sentence of its own, with the times that matter', () => {
  expect(protectionSentences(copy, clock)).toEqual([
    'Image under AES-256; its key is in memory only, until 10:40 unless prolonged.',
    'What is written stays on the endpoint under AES-256, unreadable there without the site.',
  ])
  const all = protectionSentences({ ...copy, protection: [...protections] }, clock)
  expect(new Set(all).size).toBe(protections.length)
  for (const sentence of all) expect(sentence).toMatch(/^[A-Z].*\.$/)
})

test('copies are counted by place, mode and state; zones only of what is outside', () => {
  const paused: DataCopy = { ...copy, state: 'paused', mode: 'local-vm' }
  const kept: DataCopy = { ...copy, state: 'kept', zone: { name: 'cafe', kind: 'hostile' } }
  const summary = emptySummary()
  for (const one of [copy, hosted, paused, kept]) addToSummary(summary, one)
  expect(summary).toEqual({
    total: 4,
    outside: 3,
    readable: 2,
    byPlace: { endpoint: 3, datacenter: 1 },
    byMode: { 'streamed-disk': 2, 'hosted-shared': 1, 'local-vm': 1 },
    byZone: { inside: 2, hostile: 1 },
    byState: { held: 1, 'in-use': 1, paused: 1, kept: 1 },
    byArea: { inside: { held: 1, paused: 1 }, datacenter: { 'in-use': 1 }, hostile: { kept: 1 } },
  })
})

test('a table for other programs has a line of headings, quotes what needs it, and holds no formulas', () => {
  const odd: DataCopy = {
    ...copy,
    person: { ...copy.person, name: '=HYPERLINK("http://x")', deleted: true },
    workspace: { id: 'a,b', name: '' },
  }
  const [headings = '', row = ''] = csvOf([odd]).split('\r\n')
  expect(headings.split(',').slice(0, 3)).toEqual(['Place', 'Machine', 'Machine id'])
  expect(row).toContain('"a,b"')
  expect(row).toContain(',person,streamed-disk,')
  expect(row).toContain(`"'=HYPERLINK(""http://x"")"`)
  expect(row).toContain('2026-08-01T10:40:00.000Z')
})

const size = (bytes: number): string => `${bytes} B`

test('what a deletion leads to is said in numbers, and only what is', () => {
  const none = {
    sessions: 0,
    leases: 0,
    overlays: { count: 0, sizeBytes: 0, outOfReach: 0 },
    replicas: { count: 0, sizeBytes: 0 },
  }
  expect(outlookSentences(none, 'discard', size)).toEqual(['Nothing runs, and nothing was written.'])
  const some = {
    sessions: 1,
    leases: 2,
    overlays: { count: 1, sizeBytes: 5, outOfReach: 1 },
    replicas: { count: 3, sizeBytes: 7 },
    person: {
      endpoints: 1,
      account: 'tc-nora-3f2a91',
      hosts: ['host-1', 'host-2'],
      hostsOutOfReach: ['host-2'],
    },
  }
  expect(outlookSentences(some, 'keep', size)).toEqual([
    '1 running session ends at once.',
    '2 leases are withdrawn, and their keys wiped; what was written under them stays or goes as the policy said.',
    '1 overlay of closed leases (5 B) on devices is kept there, sealed and without a key, until the device is wiped.',
    '3 replicas in the data centre (7 B) are kept, sealed, until an admin removes what is left on the page Data.',
    '1 device becomes nobody’s.',
    'The home of the account tc-nora-3f2a91 stays on host-1, host-2, where nobody else is given it.',
  ])
  expect(outlookSentences(some, 'discard', size).slice(2, 5)).toEqual([
    '1 overlay of closed leases (5 B) on devices is discarded by each device as soon as it hears of that; until then it is there, sealed and without a key.',
    '1 of them stays until the device is upgraded or wiped: it was revoked, or its program is too old to be told.',
    '3 replicas in the data centre (7 B) are discarded for good.',
  ])
  expect(outlookSentences(some, 'discard', size).slice(-2)).toEqual([
    'The home of the account tc-nora-3f2a91 on host-1, host-2 is removed by each host as soon as it hears of that.',
    'It stays on host-2, which cannot be told, because it was revoked or its program is too old: upgrade that, or run there: userdel --remove tc-nora-3f2a91.',
  ])
})
