import {
  type DataAnswer,
  type DataCopy,
  type DataQuery,
  dataQuery,
  type TimelineAnswer,
  type TimelineEntry,
} from '#core/api/data.ts'
import { addToSummary, choosing, emptySummary } from '#core/data/index.ts'
import { id, soon } from './mock-data.ts'
import type { Answer } from './mock-site.ts'

/** Copies of data in memory: what is withdrawn is taken back and stays so. */

const GiB = 2 ** 30
const [ada, omar, mei] = [
  { id: id(1), login: 'ada', name: 'Ada Lindqvist' },
  { id: id(2), login: 'omar', name: 'Omar Haddad' },
  { id: id(3), login: 'mei', name: 'Mei Tanaka' },
]
const office = { id: 'office', name: 'Office desktop' }
const records = { id: 'records', name: 'Patient records' }

function held(number: number, more: Partial<DataCopy>): DataCopy {
  return {
    id: id(800 + number),
    leaseId: id(800 + number),
    sessionId: id(820 + number),
    workspace: office,
    person: mei,
    machine: { id: id(70), name: 'ward-3-station-1', kind: 'endpoint', online: true },
    mode: 'streamed-disk',
    place: 'endpoint',
    zone: { name: 'hospital', kind: 'inside' },
    image: { name: 'ward-desktop', version: '2026.07', manifestDigest: 'b7'.repeat(32) },
    state: 'held',
    protection: ['key-in-memory', 'overlay-discarded'],
    since: soon(-47),
    until: soon(11),
    stats: {
      bytesFetched: GiB,
      bytesLocal: 2 * GiB,
      percentLocal: 38,
      cacheHits: 9000,
      bytesWritten: 212 * 2 ** 20,
    },
    ...more,
  }
}

function kept(number: number, more: Partial<DataCopy>): DataCopy {
  const { until: _until, ...copy } = held(number, more)
  return copy
}

function hosted(number: number, more: Partial<DataCopy>): DataCopy {
  const {
    leaseId: _lease,
    image: _image,
    stats: _stats,
    ...copy
  } = held(number, {
    machine: { id: id(50), name: 'host-1', kind: 'host', online: true },
    workspace: records,
    person: omar,
    mode: 'hosted-shared',
    place: 'datacenter',
    zone: { name: 'outside', kind: 'outside' },
    state: 'in-use',
    protection: ['stays-on-host'],
    until: soon(400),
  })
  return { ...copy, ...more }
}

const notice = { code: 'TRUST_LOST', reason: 'Antivirus was turned off' }

export class MockCopies {
  #copies: readonly DataCopy[] = [
    held(0, {}),
    held(1, {
      person: ada,
      machine: { id: id(71), name: 'pilot-laptop', kind: 'endpoint', online: true },
      mode: 'local-vm',
      zone: { name: 'outside', kind: 'outside' },
      protection: ['key-in-memory', 'overlay-kept'],
    }),
    held(2, {
      machine: { id: id(72), name: 'field-laptop-4', kind: 'endpoint', online: false },
      zone: { name: 'airport', kind: 'hostile' },
      state: 'withdrawn',
      protection: ['key-withdrawn', 'overlay-kept'],
      notice,
    }),
    held(7, {
      person: mei,
      machine: { id: id(74), name: 'desk-12', kind: 'endpoint', online: true },
      mode: 'local-vm',
      state: 'paused',
      protection: ['paused-in-memory', 'overlay-kept'],
      until: soon(9),
      notice,
    }),
    kept(3, {
      person: omar,
      machine: { id: id(73), name: 'laptop-7', kind: 'endpoint', online: false },
      zone: { name: 'unknown', kind: 'unknown' },
      state: 'kept',
      protection: ['no-key'],
      since: soon(-3 * 1440),
    }),
    {
      ...hosted(5, {
        leaseId: id(806),
        workspace: office,
        person: mei,
        machine: { id: id(99), name: 'Demo Hospital', kind: 'site', online: true },
        mode: 'local-vm',
        zone: { name: 'unknown', kind: 'unknown' },
        state: 'replicated',
        protection: ['replica-sealed'],
        since: soon(-2880),
        replica: {
          sizeBytes: 430 * 2 ** 20,
          copiedAt: soon(-1),
          endpoint: { id: id(70), name: 'ward-3-station-1' },
        },
      }),
    },
    held(4, { state: 'offered', protection: ['key-not-sent', 'overlay-discarded'], person: ada }),
    ...Array.from({ length: 23 }, (_, at) =>
      hosted(10 + at, {
        person: [ada, omar, mei][at % 3] ?? ada,
        workspace: at % 2 === 0 ? records : office,
        state: at % 7 === 3 ? 'disconnected' : 'in-use',
        zone: at % 3 === 0 ? { name: 'outside', kind: 'outside' } : { name: 'hospital', kind: 'inside' },
      }),
    ),
  ]

  answer(
    method: string,
    path: string,
    body: Readonly<Record<string, string>>,
    query: URLSearchParams,
    empty: boolean,
  ): Answer | undefined {
    if (path === '/data')
      return { status: 200, body: this.#data(dataQuery.parse(Object.fromEntries(query)), empty) }
    if (path === '/timeline') return { status: 200, body: timeline() }
    if (path.startsWith('/audit/proof/')) return { status: 200, body: 'c2sp.org/tlog-proof@v1' }
    const replica = /^\/replicas\/([^/]+)\/remove$/.exec(path)?.[1]
    if (replica !== undefined && method === 'POST') {
      this.#copies = this.#copies.filter((one) => one.id !== replica)
      return { status: 200, body: { id: replica } }
    }
    const lease = /^\/leases\/([^/]+)\/withdraw$/.exec(path)?.[1]
    if (lease === undefined || method !== 'POST') return undefined
    const copy = this.#copies.find(({ leaseId }) => leaseId === lease)
    if (copy === undefined) return refused(404, 'NOT_FOUND')
    if (copy.state !== 'held' && copy.state !== 'offered') return refused(409, 'LEASE_OVER')
    const taken: DataCopy = {
      ...copy,
      state: 'withdrawn',
      protection: ['key-withdrawn', ...copy.protection.slice(1)],
      notice: { code: 'LEASE_WITHDRAWN_BY_ADMIN', reason: body['reason'] ?? '' },
    }
    this.#copies = this.#copies.map((one) => (one === copy ? taken : one))
    return { status: 200, body: { id: lease, state: 'withdrawn' } }
  }

  #data(query: DataQuery, empty: boolean): DataAnswer {
    const summary = emptySummary()
    const all = empty ? [] : this.#copies
    for (const copy of all) addToSummary(summary, copy)
    const copies = all.filter(choosing(query))
    return { at: soon(0), copies, found: copies.length, summary }
  }
}

function refused(status: number, code: string): Answer {
  return { status, body: { code, message: 'there is no such lease, or it is over' } }
}

function timeline(): TimelineAnswer {
  const lease = { session: id(820), person: mei.id, endpoint: id(70) }
  const entries: readonly Omit<TimelineEntry, 'index'>[] = [
    {
      at: soon(-2),
      kind: 'lease-withdrawn',
      actor: { type: 'system', id: 'trust' },
      subject: id(800),
      data: { ...lease, ...notice },
    },
    {
      at: soon(-47),
      kind: 'key-released',
      actor: { type: 'person', id: mei.id },
      subject: id(800),
      data: {
        session: id(820),
        endpoint: id(70),
        image: 'ward-desktop',
        version: '2026.07',
        overlay: 'discard',
      },
    },
    {
      at: soon(-47),
      kind: 'session-started',
      actor: { type: 'person', id: mei.id },
      subject: id(820),
      data: {
        endpoint: id(70),
        workspace: 'office',
        mode: 'streamed-disk',
        image: 'ward-desktop',
        version: '2026.07',
      },
    },
    {
      at: soon(-47),
      kind: 'decision',
      actor: { type: 'person', id: mei.id },
      subject: mei.id,
      data: {
        cause: 'launch',
        workspace: 'office',
        mode: 'streamed-disk',
        zone: { name: 'hospital', kind: 'inside' },
      },
    },
  ]
  return {
    entries: entries.map((entry, at) => ({ index: String(4711 - at), ...entry })),
    names: { [mei.id]: mei.name, [id(70)]: 'ward-3-station-1' },
  }
}
