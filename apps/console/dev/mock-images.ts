import type { BootView, EnrolmentRequestView } from '#core/api/device-keys.ts'
import type { EndpointView, LeaseView } from '#core/api/lease.ts'
import type { ImageView, ProposalView, ReleasesView } from '#core/api/releases.ts'
import { id, pageOf, soon } from './mock-data.ts'
import type { Answer } from './mock-site.ts'

/** Images, releases, endpoints and leases in memory: proposals collect signatures by nobody, everything else does as it is told. */

const day = 1440
const [MiB, GiB] = [2 ** 20, 2 ** 30]
const hex = (text: string): string => text.repeat(64).slice(0, 64)
const keys = ['alice', 'bob', 'carol'].map((name, at) => ({ keyId: hex(`a${at}`), name }))
const desktop = 'ward-desktop'

/** A system disk after an upgrade: files change here and there, much of the disk was never written. */
function cells(): string {
  return Array.from({ length: 512 }, (_, at) => {
    if (at < 4) return 's'
    if (at > 330) return '.'
    const noise = (at * 2_654_435_761) % 97
    if (at > 90 && at < 118) return noise < 55 ? 'c' : 's'
    if (at > 250 && at < 262) return 'z'
    return noise < 6 ? 'c' : 's'
  }).join('')
}

function image(version: string, daysAgo: number, against?: string): ImageView {
  return {
    name: desktop,
    version,
    manifestDigest: hex(version.replace(/\D/g, '') + 'b7'),
    store: 'registry:registry.riverside.example/images',
    importedBy: 'ada',
    importedAt: soon(-daysAgo * day),
    ...(against === undefined
      ? {}
      : {
          comparison: {
            against,
            sizeBytes: 40 * GiB,
            sameBytes: 39_300 * MiB,
            changedBytes: 1434 * MiB,
            clearedBytes: (40 * 1024 - 39_300 - 1434) * MiB,
            changedStoredBytes: 612 * MiB,
            cells: cells(),
          },
        }),
  }
}

const images: readonly ImageView[] = [
  image('2026.08', 0.1, '2026.07'),
  image('2026.07', 6, '2026.06'),
  image('2026.06', 37, '2026.05'),
  image('2026.05', 66),
  { ...image('1.4', 20), name: 'lab-analysis' },
  { ...image('3', 2), name: 'kiosk', importedBy: 'mei' },
]

function release(version: string, counter: number, daysAgo: number, contentVersion = version) {
  const manifestDigest = images.find((each) => each.version === contentVersion)?.manifestDigest ?? hex('0')
  return { version, contentVersion, counter, manifestDigest, publishedAt: soon(-daysAgo * day) }
}

function proposal(role: string, more: Partial<ProposalView>): ProposalView {
  const [alice, bob, carol] = keys
  if (alice === undefined || bob === undefined || carol === undefined) throw new Error('three sign')
  const state = { role, threshold: 2, valid: [alice], missing: 1, waiting: [bob, carol], unknownKeys: [] }
  return {
    role,
    version: 5,
    proposedBy: 'ada',
    proposedAt: soon(-95),
    expiresAt: soon(180 * day),
    signatures: [state],
    missing: 1,
    adds: [],
    ...more,
  }
}

function releases(): ReleasesView {
  return {
    root: { version: 2, expiresAt: soon(290 * day), threshold: 2, keys },
    targets: { version: 3, expiresAt: soon(122 * day), threshold: 2, keys },
    images: [
      {
        name: desktop,
        version: 4,
        expiresAt: soon(141 * day),
        threshold: 2,
        keys,
        releases: [
          release('2026.07', 4, 5.5),
          release('2026.05-again-3', 3, 30, '2026.05'),
          release('2026.06', 2, 36),
          release('2026.05', 1, 65),
        ],
        channels: [
          {
            channel: 'production',
            current: '2026.05-again-3',
            next: { version: '2026.07', wave: { groups: ['pilots'], endpoints: [], percent: 25 } },
            changedAt: soon(-2 * day),
          },
          { channel: 'test', current: '2026.07', changedAt: soon(-5 * day) },
        ],
      },
      {
        name: 'lab-analysis',
        version: 1,
        expiresAt: soon(12 * day),
        threshold: 1,
        keys: keys.slice(0, 2),
        releases: [release('1.4', 1, 19)],
        channels: [{ channel: 'production', current: '1.4', changedAt: soon(-19 * day) }],
      },
    ],
    proposals: [
      proposal(desktop, { adds: [{ version: '2026.08', contentVersion: '2026.08', counter: 5 }] }),
      proposal('targets', {
        version: 4,
        missing: 0,
        proposedAt: soon(-60 * 26),
        signatures: [
          { role: 'targets', threshold: 2, valid: keys.slice(1), missing: 0, waiting: [], unknownKeys: [] },
        ],
      }),
    ],
    unreleased: images.filter(({ version }) => version === '2026.08' || version === '3'),
  }
}

function lease(number: number, person: LeaseView['person'], more: Partial<LeaseView>): LeaseView {
  return {
    id: id(800 + number),
    sessionId: id(820 + number),
    person,
    workspaceId: 'office',
    mode: 'streamed-disk',
    image: desktop,
    version: '2026.05-again-3',
    manifestDigest: hex('b7'),
    state: 'held',
    overlay: 'discard',
    keyReleasedAt: soon(-47),
    expiresAt: soon(11),
    ...more,
  }
}

const mei = { id: id(3), login: 'mei', name: 'Mei Tanaka' }
const omar = { id: id(2), login: 'omar', name: 'Omar Haddad' }
const ada = { id: id(1), login: 'ada', name: 'Ada Lindqvist' }

function boot(more: Partial<BootView>): BootView {
  return { id: 'b1', state: 'expected', secureBoot: 'on', difference: [], since: soon(-300), ...more }
}

function changedBoot(): BootView {
  return boot({ state: 'changed', difference: ['kernel changed (/boot/vmlinuz-6.1.0-56-amd64)'] })
}

const waiting: readonly EnrolmentRequestView[] = [
  {
    id: id(90),
    code: 'K7QF-2M9X',
    name: 'radiology-2',
    address: '10.20.3.41',
    requestedAt: soon(-2),
    expiresAt: soon(58),
  },
]

function endpoints(): EndpointView[] {
  const machine = {
    online: true,
    group: 'default',
    lastSeenAt: soon(0),
    certificateExpiresAt: soon(1210),
    revoked: false,
    deviceKey: 'file' as const,
    enrolledAt: soon(-day * 30),
    reports: true,
    forked: false,
    leases: [],
  }
  return [
    {
      ...machine,
      id: id(70),
      name: 'ward-3-station-1',
      deviceKey: 'tpm',
      owner: mei,
      boot: boot({}),
      leases: [lease(0, mei, {})],
    },
    {
      ...machine,
      id: id(71),
      name: 'pilot-laptop',
      deviceKey: 'tpm',
      owner: ada,
      boot: changedBoot(),
      group: 'pilots',
      leases: [lease(1, ada, { version: '2026.07', overlay: 'keep', keyReleasedAt: soon(-6) })],
    },
    {
      ...machine,
      id: id(72),
      name: 'lab-bench-2',
      leases: [
        lease(2, omar, {
          image: 'lab-analysis',
          version: '1.4',
          workspaceId: 'records',
          state: 'withdrawn',
          withdrawnAt: soon(-1),
          expiresAt: soon(4),
          notice: {
            code: 'TRUST_LOST',
            reason: 'Disk encryption was turned off',
            remedy: 'Turn on disk encryption.',
            stepDown: 'hosted-shared',
          },
        }),
      ],
    },
    { ...machine, id: id(75), name: 'ward-3-station-2', deviceKey: 'tpm', boot: changedBoot() },
    { ...machine, id: id(73), name: 'reception', online: false, lastSeenAt: soon(-60 * 19) },
    { ...machine, id: id(74), name: 'old-cart', online: false, revoked: true, lastSeenAt: soon(-day * 40) },
  ]
}

/** Streams move a little with every look. */
function flowing(machines: readonly EndpointView[], looks: number): readonly EndpointView[] {
  return machines.map((machine, at) => ({
    ...machine,
    leases: machine.leases.map((each) => ({
      ...each,
      ...(each.state === 'ended'
        ? {}
        : {
            stats: {
              bytesFetched: (412 + 211 * at + 7 * looks) * MiB,
              bytesLocal: (1893 + 160 * at + 31 * looks) * MiB,
              percentLocal: Math.min(100, 4.1 + 9 * at + looks / 10),
              cacheHits: 31_204 + 8_113 * at + 412 * looks,
              bytesWritten: (88 + looks) * MiB,
            },
          }),
    })),
  }))
}

type Body = Readonly<Record<string, never>>

const ok = (body: unknown = {}): Answer => ({ status: 200, body })

export class MockImages {
  #releases = releases()
  readonly #endpoints = endpoints()
  readonly #waiting = [...waiting]
  #looks = 0

  /** @returns undefined for what is not about images */
  answer(
    method: string,
    path: string,
    body: Body,
    query: URLSearchParams,
    empty: boolean,
  ): Answer | undefined {
    const [, area = '', what = '', name = '', part = '', last = ''] = path.split('/')
    if (area === 'endpoints' && name === 'claims')
      return ok({ endpoint: { id: what, name: 'a machine' }, claims: [], changes: [] })
    if (area === 'endpoints') return ok(this.#list(query, empty))
    if (area === 'leases' && what === '') return ok(this.#leases(query, empty))
    if (area === 'images' && what === 'use') return ok(this.#use(empty))
    if (area === 'admin' && what === 'enrolment-requests') return this.#answerWaiting(method, name)
    if (area === 'admin' && what === 'endpoints') return this.#changeEndpoint(name, part, body)
    if (area === 'images') return ok({ images: empty ? [] : images })
    if (area === 'releases' && method === 'GET')
      return ok(empty ? { images: [], proposals: [], unreleased: [] } : this.#releases)
    return area === 'releases' ? this.#change(`${method} ${what} ${part}`, name, last, body) : undefined
  }

  #list(query: URLSearchParams, empty: boolean): object {
    const all = this.#endpoints.filter(({ boot }) => !query.has('boot') || boot?.state === 'changed')
    const { rows, found, ...next } = pageOf(empty ? [] : all, query)
    const online = found.filter((machine) => machine.online).length
    return { endpoints: rows, count: { all: found.length, online }, ...next }
  }

  #leases(query: URLSearchParams, empty: boolean): object {
    const machines = empty ? [] : flowing(this.#endpoints, (this.#looks += 1))
    const held = machines.flatMap(({ id, name, online, leases }) =>
      leases.map((each) => ({ ...each, endpoint: { id, name, online } })),
    )
    const wanted = held.filter(
      ({ image, version }) =>
        (query.get('image') ?? image) === image && (query.get('version') ?? version) === version,
    )
    const { rows, found, ...next } = pageOf(wanted, query)
    return { leases: rows, count: found.length, ...next }
  }

  #use(empty: boolean): object {
    const machines = empty ? [] : this.#endpoints
    const held = machines.flatMap(({ leases }) => leases)
    const uses = this.#releases.images.flatMap(({ name: image, releases: each }) =>
      each.map(({ version }) => ({
        image,
        version,
        leases: held.filter((lease) => lease.image === image && lease.version === version).length,
      })),
    )
    return { uses, groups: [...new Set(machines.map(({ group }) => group))] }
  }

  #answerWaiting(method: string, id: string): Answer {
    if (method === 'GET') return ok({ requests: this.#waiting })
    const at = this.#waiting.findIndex((each) => each.id === id)
    if (at !== -1) this.#waiting.splice(at, 1)
    return ok()
  }

  #changeEndpoint(id: string, what: string, body: Body): Answer {
    const machine = this.#endpoints.find((each) => each.id === id)
    if (machine === undefined)
      return { status: 404, body: { code: 'NOT_FOUND', message: 'there is no such endpoint' } }
    if (what === 'accept-boot') machine.boot = boot({})
    const owner = [mei, omar, ada].find(({ login }) => login === body['owner'])
    if (what === 'owner' && owner === undefined) delete machine.owner
    else if (owner !== undefined) machine.owner = owner
    return ok()
  }

  /** @returns false for another session's */
  endSession(id: string): boolean {
    for (const machine of this.#endpoints) {
      const held = machine.leases.find(({ sessionId }) => sessionId === id)
      if (held === undefined) continue
      Object.assign(held, { state: 'withdrawn', withdrawnAt: soon(0) })
      return true
    }
    return false
  }

  revoke(id: string): void {
    const machine = this.#endpoints.find((each) => each.id === id)
    if (machine !== undefined) Object.assign(machine, { revoked: true, online: false, leases: [] })
  }

  #change(what: string, name: string, last: string, body: Body): Answer {
    switch (what) {
      case 'POST publications ':
        return this.#publish(body['roles'] ?? [])
      case 'DELETE proposals ':
        return this.#propose(this.#releases.proposals.filter(({ role }) => role !== name))
      case 'POST proposals renewal':
        return this.#add(proposal(name, { version: 9 }))
      case 'POST images releases':
      case 'POST images rollbacks':
        return this.#add(this.#next(name, body))
      case 'PUT images channels':
        return this.#promote(name, last, body)
      default:
        return { status: 404, body: { code: 'NOT_FOUND', message: `the mock has no ${what}` } }
    }
  }

  #next(name: string, body: Body): ProposalView {
    const known = this.#releases.images.find((each) => each.name === name)?.releases ?? []
    const counter = (known[0]?.counter ?? 0) + 1
    const contentVersion: string = body['to'] ?? body['version'] ?? ''
    const version =
      body['to'] === undefined ? contentVersion : (body['as'] ?? `${contentVersion}-again-${counter}`)
    return proposal(name, { proposedAt: soon(0), adds: [{ version, contentVersion, counter }] })
  }

  #add(made: ProposalView): Answer {
    if (this.#releases.proposals.some(({ role }) => role === made.role)) {
      return {
        status: 409,
        body: {
          code: 'CONFLICT',
          message: `something else of ${made.role} awaits signatures`,
          remedy: `Have it signed and publish it, or withdraw it: trustcast image withdraw ${made.role}`,
        },
      }
    }
    this.#propose([...this.#releases.proposals, made])
    return { status: 201, body: made }
  }

  #propose(proposals: ProposalView[]): Answer {
    this.#releases = { ...this.#releases, proposals }
    return ok()
  }

  #publish(roles: readonly string[]): Answer {
    this.#propose(this.#releases.proposals.filter(({ role }) => !roles.includes(role)))
    return { status: 201, body: { published: roles.map((role) => ({ role, version: 4 })) } }
  }

  #promote(name: string, channel: string, body: Body): Answer {
    const family = this.#releases.images.find((each) => each.name === name)
    const version = body['version'] ?? ''
    const wave = body['wave'] as { groups: string[]; endpoints: string[]; percent: number } | undefined
    if (family === undefined || (channel !== 'test' && channel !== 'production')) return ok()
    const before = family.channels.find((each) => each.channel === channel)
    const isWave = wave !== undefined && wave.percent < 100 && before !== undefined
    const state = {
      channel,
      current: isWave ? before.current : version,
      changedAt: soon(0),
      ...(isWave ? { next: { version, wave } } : {}),
    } as const
    const channels = [...family.channels.filter((each) => each !== before), state]
    this.#releases = {
      ...this.#releases,
      images: this.#releases.images.map((each) => (each === family ? { ...each, channels } : each)),
    }
    return ok(this.#releases)
  }
}
