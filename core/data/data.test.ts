import { expect, test } from 'vitest'
import type { DataCopy } from '#core/api/data.ts'
import { protections } from '#core/api/data.ts'
import { addToSummary, csvOf, emptySummary, protectionSentences } from './index.ts'

const copy: DataCopy = {
  id: 'l1',
  sessionId: 's1',
  leaseId: 'l1',
  workspace: { id: 'lab', name: 'Laboratory' },
  person: { id: 'p1', login: 'nora', name: 'Nora Lind' },
  machine: { id: 'm1', name: 'laptop-7', kind: 'endpoint', online: true },
  mode: 'streamed-disk',
  place: 'endpoint',
  zone: { name: 'office', kind: 'inside' },
  image: { name: 'office', version: '1', manifestDigest: 'ab' },
  state: 'held',
  protection: ['key-in-memory', 'overlay-kept'],
  since: '2026-08-01T10:00:00.000Z',
  until: '2026-08-01T10:40:00.000Z',
}
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
  const odd = {
    ...copy,
    person: { ...copy.person, name: '=HYPERLINK("http://x")' },
    workspace: { id: 'a,b', name: '' },
  }
  const [headings = '', row = ''] = csvOf([odd]).split('\r\n')
  expect(headings.split(',').slice(0, 3)).toEqual(['Place', 'Machine', 'Machine id'])
  expect(row).toContain('"a,b"')
  expect(row).toContain(`"'=HYPERLINK(""http://x"")"`)
  expect(row).toContain('2026-08-01T10:40:00.000Z')
})
