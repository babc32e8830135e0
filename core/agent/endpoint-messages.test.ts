import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { endpointToSite, siteToEndpoint } from './endpoint-messages.ts'
import { understands, versionInHello } from './understood.ts'

const id = '0198c0de-0000-4000-8000-000000000001'
const stats = { bytesFetched: 1, bytesLocal: 2, percentLocal: 99.5, cacheHits: 3, bytesWritten: 4 }
const lease = {
  id,
  state: 'withdrawn',
  expiresAt: '2026-01-01T00:00:00.000Z',
  leftMs: 0,
  overlay: 'discard',
  notice: { code: 'TRUST_LOST', reason: 'x', remedy: 'y', stepDown: 'hosted-shared' },
}

test.each([
  ['a hello', endpointToSite, { kind: 'hello', sealKey: 'A'.repeat(43), version: '1', reports: true }],
  [
    'evidence',
    endpointToSite,
    { kind: 'evidence', statement: 'a.b.c', attestation: { quote: '', signature: '', pcrs: '' } },
  ],
  ['a challenge', siteToEndpoint, { kind: 'challenge', nonce: 'A'.repeat(43), wantLog: false, beacons: [] }],
  [
    'a verdict',
    siteToEndpoint,
    { kind: 'verdict', claims: [], refused: { code: 'EVIDENCE_STALE', message: 'x' } },
  ],
  ['a report', endpointToSite, { kind: 'report', at: 5, leases: [{ id, state: 'held', stats }] }],
  ['what is desired', siteToEndpoint, { kind: 'desired', heard: 0, leases: [lease] }],
  [
    'what is to be discarded',
    siteToEndpoint,
    {
      kind: 'desired',
      heard: 0,
      leases: [],
      discard: [{ personId: id }, { personId: id, workspaceId: 'lab' }],
    },
  ],
  ['what was discarded', endpointToSite, { kind: 'discarded', written: [{ personId: id }] }],
])('%s is read as it was written', (_, schema, message) => {
  expect(schema.parse(JSON.parse(JSON.stringify(message)))).toEqual(message)
})

test.each([
  ['a field that is not known', { kind: 'report', at: 5, leases: [], key: 'x' }],
  ['a key in a lease', { kind: 'report', at: 5, leases: [{ id, state: 'held', stats, key: 'x' }] }],
  [
    'a state that only the site gives',
    { kind: 'report', at: 5, leases: [{ id, state: 'withdrawn', stats }] },
  ],
  [
    'more than all',
    { kind: 'report', at: 5, leases: [{ id, state: 'held', stats: { ...stats, percentLocal: 101 } }] },
  ],
  ['less than nothing', { kind: 'report', at: -1, leases: [] }],
  ['a path in the place of a person', { kind: 'discarded', written: [{ personId: '../..' }] }],
  [
    'a path in the place of a workspace',
    { kind: 'discarded', written: [{ personId: id, workspaceId: '../other' }] },
  ],
  ['half a key', { kind: 'hello', sealKey: 'A'.repeat(21), version: '1' }],
  [
    'more leases than fit',
    { kind: 'report', at: 5, leases: Array.from({ length: 201 }, () => ({ id, state: 'held', stats })) },
  ],
])('%s is refused', (_, message) => {
  expect(endpointToSite.safeParse(message).success).toBe(false)
})

test('what an agent understands beyond the first words stands in its version, which every site takes', () => {
  expect(understands(versionInHello('0.1.0'), 'discard')).toBe(true)
  for (const older of ['0.1.0', 'discard', '0.1.0+other', ''])
    expect(understands(older, 'discard')).toBe(false)
  const hello = { kind: 'hello', sealKey: 'A'.repeat(43), version: versionInHello('0.1.0') }
  expect(endpointToSite.safeParse(hello).success).toBe(true)
})

test('no value at all is read by accident', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(endpointToSite.safeParse(value).success || siteToEndpoint.safeParse(value).success).toBe(false)
    }),
  )
})
