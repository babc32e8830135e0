import { expect, test } from 'vitest'
import type { HostedCopyRow, KeptCopyRow, LeasedCopyRow } from '#adapters/store-postgres/index.ts'
import { type DataCopy, dataCopy } from '#core/api/data.ts'
import { compileZones, findZone, parseAddress } from '#core/trust/index.ts'
import {
  hostedCopyOf,
  keptCopyOf,
  leasedCopyOf,
  pausedCopyOf,
  replicaCopyOf,
  type Sight,
} from './data-copies.ts'

const zones = compileZones([
  { name: 'office', kind: 'inside', networks: ['10.0.0.0/8'] },
  { name: 'cafe', kind: 'hostile', networks: ['192.0.2.0/24'] },
])
const now = Date.parse('2026-08-01T10:00:00.000Z')
const sight: Sight = {
  now,
  rules: { findZone: (address, beacon, at) => findZone(zones, parseAddress(address), { beacon, now: at }) },
}
const at = (minutes: number): Date => new Date(now + minutes * 60_000)
const [person, machine, session, lease] = [1, 2, 3, 4].map(
  (n) => `00000000-0000-4000-8000-00000000000${n}`,
) as [string, string, string, string]

const row: LeasedCopyRow = {
  id: lease,
  session_id: session,
  person_id: person,
  endpoint_id: machine,
  workspace_id: 'lab',
  image: 'office',
  version: '1',
  counter: '1',
  manifest_digest: 'ab',
  mode: 'streamed-disk',
  scope: '',
  overlay: 'keep',
  overlay_at_start: 'keep',
  superseded: false,
  written_before: '0',
  state: 'held',
  made_at: at(-11),
  key_released_at: at(-10),
  expires_at: at(5),
  withdrawn_at: null,
  ended_at: null,
  notice: null,
  replica_kept_at: null,
  replica_read_at: null,
  paused_at: null,
  stats: { bytesFetched: 1, bytesLocal: 2, percentLocal: 3, cacheHits: 4, bytesWritten: 5 },
  person_login: 'nora',
  person_deleted_at: null,
  workspace_deleted_at: null,
  person_name: 'Nora Lind',
  workspace: {
    id: 'lab',
    name: 'Laboratory',
    description: '',
    icon: '',
    pool: 'default',
    modes: ['streamed-disk'],
    collections: [],
    program: { kind: 'desktop' },
  },
  machine_name: 'laptop-7',
  machine_seen_at: at(-1),
  machine_revoked_at: null,
  web_address: '10.1.2.3',
  agent_address: null,
  beacon: null,
}
const kept: KeptCopyRow = {
  ...row,
  state: 'ended',
  ended_at: at(-3),
  written: '12',
  discards: false,
  machine_hears_discards: true,
}
const hosted: HostedCopyRow = {
  ...row,
  host_id: machine,
  mode: 'hosted-shared',
  state: 'ready',
  connected: true,
  started_at: at(-20),
  ends_at: at(60),
  end: null,
}

test('what comes of the rows is what the API promises', () => {
  for (const copy of [leasedCopyOf(row, sight), keptCopyOf(kept, sight), hostedCopyOf(hosted, sight)])
    expect(dataCopy.parse(copy)).toEqual(copy)
})

test('of two addresses the worse one counts, and from nowhere is unknown', () => {
  expect(zoneOf('10.1.2.3', '192.0.2.7')).toEqual({
    name: 'cafe',
    kind: 'hostile',
    why: 'Hostile because 192.0.2.7 is in cafe',
  })
  expect(zoneOf('198.51.100.1', '10.1.2.3')).toMatchObject({ kind: 'outside' })
  expect(zoneOf('10.1.2.3', '')).toMatchObject({ name: 'office', kind: 'inside' })
  expect(zoneOf(null, '')).toEqual({ name: 'unknown', kind: 'unknown' })
})

test('what protects a lease follows its key and its overlay', () => {
  expect(protectionOf({})).toEqual(['key-in-memory', 'overlay-kept'])
  expect(protectionOf({ state: 'offered', key_released_at: null, overlay: 'discard' })).toEqual([
    'key-not-sent',
    'overlay-discarded',
  ])
  expect(protectionOf({ state: 'withdrawn' })).toEqual(['key-withdrawn', 'overlay-kept'])
  expect(protectionOf({ state: 'withdrawn', key_released_at: null })).toEqual([
    'key-not-sent',
    'overlay-kept',
  ])
})

test('a copy is held since its key went out, and taken back since that was withdrawn', () => {
  expect(leasedCopyOf(row, sight).since).toBe(at(-10).toISOString())
  const taken: LeasedCopyRow = { ...row, state: 'withdrawn', withdrawn_at: at(-2) }
  expect(leasedCopyOf(taken, sight)).toMatchObject({ state: 'withdrawn', since: at(-2).toISOString() })
})

test('what is replicated is a copy in the data centre, with its size and from where it came', () => {
  const copy = replicaCopyOf(
    {
      ...row,
      scope: '',
      sequence: '7',
      manifest: 'ab',
      bytes: '4096',
      stored: '8192',
      lease_id: lease,
      committed_at: at(-1),
      endpoint_name: 'laptop-7',
    },
    { id: session, name: 'Demo' },
  )
  expect(dataCopy.parse(copy)).toEqual(copy)
  expect(copy).toMatchObject({
    place: 'datacenter',
    state: 'replicated',
    machine: { name: 'Demo', kind: 'site' },
    replica: { sizeBytes: 4096, copiedAt: at(-1).toISOString(), endpoint: { name: 'laptop-7' } },
    protection: ['replica-sealed'],
  })
  expect(protectionOf({ overlay: 'replicate' })).toEqual(['key-in-memory', 'overlay-replicated'])
})

test('what was left behind is unreadable since the lease ended, where its endpoint was, with all that was written', () => {
  const copy = keptCopyOf({ ...kept, web_address: '198.51.100.1', agent_address: '10.9.9.9' }, sight)
  expect(copy).toMatchObject({
    state: 'kept',
    since: at(-3).toISOString(),
    zone: { name: 'office' },
    stats: { bytesWritten: 12 },
    protection: ['no-key'],
  })
  expect(copy).not.toHaveProperty('until')
})

test('what is to be discarded is shown so, and when its machine cannot be told', () => {
  const asked = { ...kept, discards: true }
  expect(keptCopyOf(asked, sight).protection).toEqual(['no-key', 'discard-asked'])
  expect(keptCopyOf(asked, sight).machine).not.toHaveProperty('outOfReach')
  const copy = keptCopyOf({ ...asked, machine_hears_discards: false }, sight)
  expect(dataCopy.parse(copy)).toMatchObject({ machine: { outOfReach: true } })
})

test('what stands still in memory after its lease is readable until its endpoint ends it by its own clock', () => {
  const ended = { ...row, mode: 'local-vm', state: 'ended', ended_at: at(-3), paused_at: at(-1) } as const
  const copy = pausedCopyOf(ended, sight)
  expect(dataCopy.parse(copy)).toEqual(copy)
  expect(copy).toMatchObject({
    state: 'paused',
    since: at(-3).toISOString(),
    until: at(9).toISOString(),
    protection: ['paused-in-memory', 'overlay-kept'],
  })
})

test('a machine is away when it was not heard of, or revoked', () => {
  expect([isOnline({}), isOnline({ machine_seen_at: at(-30) }), isOnline({ machine_seen_at: null })]).toEqual(
    [true, false, false],
  )
  expect(isOnline({ machine_revoked_at: at(-1) })).toBe(false)
  expect(hostedCopyOf({ ...hosted, connected: false }, sight).state).toBe('disconnected')
})

function zoneOf(web: string | null, agent: string | null): DataCopy['zone'] {
  return leasedCopyOf({ ...row, web_address: web, agent_address: agent }, sight).zone
}

function protectionOf(change: Partial<LeasedCopyRow>): DataCopy['protection'] {
  return leasedCopyOf({ ...row, ...change }, sight).protection
}

function isOnline(change: Partial<LeasedCopyRow>): boolean {
  return leasedCopyOf({ ...row, ...change }, sight).machine.online
}
