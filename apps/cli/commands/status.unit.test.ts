import { expect, test } from 'vitest'
import type { DeviceStatus } from '#core/api/handoff.ts'
import { describeStatus } from './status.ts'

const now = Date.UTC(2026, 0, 2, 12)
const base: DeviceStatus = {
  version: '1',
  endpointId: '00000000-0000-4000-8000-000000000001',
  siteId: 's',
  site: 'https://work.example',
  connected: true,
  intercepted: false,
  certificateExpiresAt: '2026-01-03T12:00:00.000Z',
  evidenceAt: '2026-01-02T11:59:20.000Z',
  launches: [],
  disks: [],
}
const launch: DeviceStatus['launches'][number] = {
  id: '00000000-0000-4000-8000-000000000002',
  workspace: { id: 'lab', name: 'Laboratory' },
  person: 'Ann',
  mode: 'streamed-disk',
  state: 'open',
  startedAt: '2026-01-02T11:00:00.000Z',
  leaseLeftMs: 14 * 60_000,
  stats: { bytesFetched: 5 * 1024 * 1024, bytesLocal: 0, percentLocal: 41.6, cacheHits: 0, bytesWritten: 0 },
}

test('a device that waits says what it is and that nothing runs', () => {
  expect(describeStatus(base, now).split('\n')).toEqual([
    'This machine is endpoint 00000000-0000-4000-8000-000000000001 of https://work.example.',
    'Connected to the site.',
    'Certificate until 2026-01-03T12:00:00.000Z.',
    'The site last took evidence 40 s ago.',
    'Nothing runs from here.',
  ])
})

test('what runs has its lease and bytes; what was taken back its reason, remedy and way on', () => {
  const end = {
    code: 'TRUST_LOST',
    reason: 'the scanner is off',
    remedy: 'Start it',
    stepDown: 'hosted-shared',
    taken: true,
    at: '2026-01-02T11:58:00.000Z',
  } as const
  const taken = { ...launch, state: 'ended' as const, end }
  const disks = [{ id: 'ab12cd34', name: 'office', mount: '/mnt', bytesFetched: 2048, percentLocal: 100 }]
  const text = describeStatus({ ...base, connected: false, launches: [launch, taken], disks }, now)
  expect(text).toContain('NOT connected')
  expect(text).toContain(
    'Laboratory (streamed-disk) for Ann: 5.0 MiB fetched, 42 % of it here, lease for 14 min more',
  )
  expect(text).toContain('disk ab12cd34 (office) on /mnt: 2.0 KiB fetched, 100 % of it here')
  expect(text).toContain(
    'Laboratory, 2 min ago: the scanner is off\n    Start it\n    Go on in the data centre (hosted-shared): trustcast launch lab',
  )
})

test('that somebody answers in the place of the site is said, with what to do', () => {
  const away = { ...base, connected: false }
  expect(describeStatus(away, now)).toContain('NOT connected to the site; it dials again by itself.')
  expect(describeStatus({ ...away, intercepted: true }, now)).toContain(
    'NOT connected to the site: somebody in between answers in its place. Use another network',
  )
})

test('what does not pass by itself is said, with what to do', () => {
  const trouble = { message: 'the certificate of endpoint laptop ended long ago', remedy: 'Enrol it again.' }
  expect(describeStatus({ ...base, connected: false, trouble }, now)).toContain(
    'NOT connected to the site: the certificate of endpoint laptop ended long ago. Enrol it again.\n',
  )
  const untold = { message: 'this device could not state its evidence: ENOSPC', remedy: 'Make room.' }
  expect(describeStatus({ ...base, trouble: untold }, now)).toContain(
    'Connected to the site, but this device could not state its evidence: ENOSPC. Make room.\n',
  )
})

test('an expired certificate is shouted', () => {
  expect(describeStatus({ ...base, certificateExpiresAt: '2026-01-01T00:00:00.000Z' }, now)).toContain(
    ': EXPIRED.',
  )
})
