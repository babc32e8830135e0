import type {
  DecisionRecord,
  DeletionView,
  GatewayView,
  HostView,
  PersonView,
  WorkspaceDefinition,
  ZoneDefinition,
} from '#core/api/admin.ts'
import type { Me, SessionView, WorkspaceView } from '#core/api/person.ts'
import type { DecisionView, Refusal, Restriction, Unlock } from '#core/api/words.ts'

/** People, workspaces and machines for looking at the console without a site. */

export const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
/** One page of a list, as `query` asks for it, and how many there are. */
export function pageOf<Row extends { readonly id: string }>(all: readonly Row[], query: URLSearchParams) {
  const found = all.filter((row) =>
    JSON.stringify(row)
      .toLowerCase()
      .includes((query.get('search') ?? '').toLowerCase()),
  )
  const begin = found.findIndex(({ id }) => id === query.get('after')) + 1
  const rows = found.slice(begin, begin + Number(query.get('limit') ?? 50))
  const last = rows.at(-1)
  return { rows, found, ...(last === undefined || last === found.at(-1) ? {} : { next: last.id }) }
}
export const soon = (minutes: number): string => new Date(Date.now() + minutes * 60_000).toISOString()

const encryption: Unlock = {
  changes: [
    { claim: 'endpoint.diskEncryption', from: 'unknown', to: 'on', remedy: 'Turn on disk encryption.' },
  ],
}
const enrol: Unlock = {
  changes: [
    { claim: 'endpoint.managed', from: 'no', to: 'yes', remedy: 'Enrol this computer with the site.' },
    ...encryption.changes,
  ],
}
const office: Unlock = {
  changes: [{ claim: 'network.kind', from: 'outside', to: 'inside', remedy: 'Join the office network.' }],
}

const obligations = {
  clipboardMaxBytes: 65_536,
  watermark: false,
  sessionMinutes: 600,
  idleMinutes: 60,
  disconnectMinutes: 120,
  leaseMinutes: 15,
  overlay: 'discard' as const,
}

function refusal(mode: Refusal['mode'], place: Refusal['place'], more: Partial<Refusal> = {}): Refusal {
  return {
    mode,
    place,
    code: 'POLICY_NO_PERMIT',
    reason: 'Data may be on a computer only when it is managed and its disk is encrypted.',
    policies: [],
    deliverable: true,
    unlocks: [enrol],
    ...more,
  }
}

export const copyingOut: Restriction = {
  right: 'clipboard-out',
  reason: 'Contractors copy nothing out of the data centre.',
  policies: ['contractor-no-copy-out'],
  unlocks: [office],
}

export const policyDigest = `sha256:${'4f9a'.repeat(16)}`
const digests = { policyDigest, contextDigest: `sha256:${'c07b'.repeat(16)}` }
const noDeliverer: Refusal = refusal('hosted-vm', 'datacenter-vm', {
  code: 'NO_DELIVERER',
  reason: 'This site has nothing yet that delivers virtual machines.',
  unlocks: [],
})

export function permitted(restrictions: readonly Restriction[]): DecisionView {
  const withheld = restrictions.map(({ right }) => right)
  return {
    outcome: {
      mode: 'hosted-shared',
      place: 'datacenter',
      rights: (['input', 'clipboard-in', 'clipboard-out'] as const).filter(
        (right) => !withheld.includes(right),
      ),
      restrictions: [...restrictions],
      obligations: { ...obligations, watermark: restrictions.length > 0 },
      policies: ['employee-outside'],
    },
    refused: [refusal('streamed-disk', 'endpoint'), noDeliverer],
    ...digests,
  }
}

const refused: DecisionView = {
  refused: [
    refusal('hosted-shared', 'datacenter', {
      code: 'POLICY_FORBIDS',
      reason: 'Payroll is open only from a network of the organisation.',
      policies: ['payroll-inside-only'],
      unlocks: [office],
    }),
  ],
  ...digests,
}

export const workspaces: readonly WorkspaceView[] = [
  {
    id: 'office',
    name: 'Office desktop',
    description: 'Your desktop with mail, files and editors.',
    kind: 'desktop',
    icon: 'desktop',
    decision: permitted([]),
  },
  {
    id: 'records',
    name: 'Patient records',
    description: 'Look up and write records of your ward.',
    kind: 'application',
    icon: 'records',
    decision: permitted([copyingOut]),
  },
  {
    id: 'terminal',
    name: 'Terminal',
    description: 'A shell on a session host.',
    kind: 'application',
    icon: 'terminal',
    decision: permitted([]),
  },
  {
    id: 'payroll',
    name: 'Payroll',
    description: 'Salaries and working hours.',
    kind: 'application',
    icon: 'finance',
    decision: refused,
  },
]

export function meOf(login: string): Me {
  const admin = login === 'ada'
  return {
    id: id(1),
    login,
    name: admin ? 'Ada Lindqvist' : 'Omar Haddad',
    groups: admin ? ['employees', 'admins'] : ['contractors'],
    admin,
    auditor: false,
    network: { address: '203.0.113.24', zone: 'home', kind: 'outside' },
    claims: [
      { name: 'network.zone', label: 'Network zone', value: 'home', source: 'server', ageSec: 0 },
      { name: 'network.kind', label: 'Kind of network', value: 'outside', source: 'server', ageSec: 0 },
      { name: 'endpoint.managed', label: 'Managed by this site', value: 'no', source: 'server', ageSec: 0 },
      {
        name: 'endpoint.diskEncryption',
        label: 'Disk encryption',
        value: 'unknown',
        source: 'self',
        ageSec: 340,
      },
      { name: 'endpoint.os', label: 'Operating system', value: 'Debian 12', source: 'self', ageSec: 340 },
    ],
  }
}

export function sessionOf(number: number, workspace: WorkspaceView, me: Me): SessionView {
  return {
    id: id(100 + number),
    workspace: { id: workspace.id, name: workspace.name, kind: workspace.kind },
    person: { id: me.id, login: me.login, name: me.name },
    mode: 'hosted-shared',
    host: { id: id(50), name: 'host-a' },
    state: 'ready',
    connected: false,
    rights: workspace.decision.outcome?.rights ?? [],
    restrictions: workspace.decision.outcome?.restrictions ?? [],
    obligations,
    decisionId: id(200),
    startedAt: soon(-42),
    endsAt: soon(558),
  }
}

/** The same on an endpoint, taken back. */
export function takenSession({ host, ...session }: SessionView): SessionView {
  const end = { code: 'TRUST_LOST', reason: 'Disk encryption was turned off', unlocks: [encryption] }
  const endpoint = { id: host?.id ?? id(71), name: 'pilot-laptop' }
  return { ...session, mode: 'streamed-disk', endpoint, state: 'ending', end }
}

export const hosts: readonly HostView[] = [
  {
    id: id(50),
    name: 'host-a',
    online: true,
    pool: 'default',
    draining: false,
    capacity: 20,
    sessions: 7,
    warm: 2,
    cpuPercent: 34.2,
    memoryFreeMiB: 18_432,
    lastSeenAt: soon(0),
    certificateExpiresAt: soon(1300),
    revoked: false,
  },
  {
    id: id(51),
    name: 'host-b',
    online: true,
    pool: 'default',
    draining: true,
    capacity: 20,
    sessions: 3,
    warm: 0,
    cpuPercent: 8.1,
    memoryFreeMiB: 27_100,
    lastSeenAt: soon(0),
    certificateExpiresAt: soon(900),
    revoked: false,
  },
  {
    id: id(52),
    name: 'host-c',
    online: false,
    pool: 'default',
    draining: false,
    capacity: 12,
    sessions: 0,
    warm: 0,
    cpuPercent: 0,
    memoryFreeMiB: 0,
    lastSeenAt: soon(-190),
    certificateExpiresAt: soon(-5),
    revoked: false,
  },
]
export const gateways: readonly GatewayView[] = [
  {
    id: id(60),
    name: 'edge-1',
    online: true,
    url: 'wss://localhost:8444',
    connections: 10,
    lastSeenAt: soon(0),
    certificateExpiresAt: soon(1200),
    revoked: false,
  },
  {
    id: id(61),
    name: 'edge-2',
    online: true,
    url: 'wss://localhost:8445',
    connections: 4,
    lastSeenAt: soon(0),
    certificateExpiresAt: soon(1100),
    revoked: false,
  },
]
export const people: readonly PersonView[] = [
  { id: id(1), login: 'ada', name: 'Ada Lindqvist', groups: ['employees', 'admins'], disabled: false },
  { id: id(2), login: 'omar', name: 'Omar Haddad', groups: ['contractors'], disabled: false },
  { id: id(3), login: 'mei', name: 'Mei Tanaka', groups: ['employees', 'nurses', 'ward-3'], disabled: false },
  { id: id(4), login: 'joe', name: 'Joe Former', groups: [], disabled: true },
]
export const zones: readonly ZoneDefinition[] = [
  { name: 'office', kind: 'inside', networks: ['10.20.0.0/16', '2001:db8:20::/48'] },
  { name: 'guest-wifi', kind: 'hostile', networks: ['10.99.0.0/16'] },
]
export const policyText = `// Employees on a managed, healthy computer may have the data with them.
@id("employee-managed")
permit (
  principal in Group::"employees",
  action in [Action::"streamed-disk", Action::"hosted-shared"],
  resource
) when {
  context.endpoint.managed == "yes" && context.endpoint.diskEncryption == "on"
};

@id("payroll-inside-only")
forbid (principal, action, resource in Collection::"payroll")
unless { context.network.kind == "inside" };
`
export const definitions: readonly WorkspaceDefinition[] = workspaces.map(
  ({ id, name, description, icon, kind }): WorkspaceDefinition => ({
    id,
    name,
    description,
    icon,
    pool: 'default',
    modes: ['streamed-disk', 'hosted-shared'],
    collections: id === 'payroll' ? ['payroll'] : ['general'],
    program: kind === 'desktop' ? { kind } : { kind, command: ['xterm', '-fullscreen'] },
    disk: { image: 'ward-desktop', channel: 'production', application: id },
  }),
)

export function decisions(): readonly DecisionRecord[] {
  return people.slice(0, 3).flatMap((person, at) =>
    workspaces.map((workspace, index) => ({
      id: id(300 + at * 10 + index),
      at: soon(-7 * (at * 4 + index)),
      person: { id: person.id, login: person.login, name: person.name },
      workspaceId: workspace.id,
      cause: index === 1 ? ('group' as const) : ('launch' as const),
      zone: 'home',
      decision: workspace.decision,
      auditIndex: String(4810 - at * 4 - index),
    })),
  )
}

/** What deleting somebody, or something, would lead to. */
export function deletionOf(isPerson: boolean): DeletionView {
  return {
    sessions: 2,
    leases: 1,
    overlays: { count: 1, sizeBytes: 48 << 20, outOfReach: 0 },
    replicas: { count: 1, sizeBytes: 31 << 20 },
    ...(isPerson
      ? { person: { endpoints: 1, account: 'tc-mei-3f2a91', hosts: ['host-1'], hostsOutOfReach: [] } }
      : {}),
  }
}
