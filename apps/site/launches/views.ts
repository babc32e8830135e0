import type {
  AgentRow,
  DecisionRow,
  EndpointEvidenceRow,
  LeaseDetail,
  ListedEndpoint,
  ListedLease,
  PersonRow,
  SessionDetail,
  SessionEnd,
} from '#adapters/store-postgres/index.ts'
import type { DecisionRecord, GatewayView, HostView, PersonView } from '#core/api/admin.ts'
import type { EndpointView, HeldLease, LeaseView } from '#core/api/lease.ts'
import type { SessionNotice, SessionView } from '#core/api/person.ts'
import { bootViewOf } from '../endpoints/endpoint-inventory.ts'
import { isReporting } from '../evidence/evidence.ts'
import { agentSilenceMs, endpointSilenceMs } from './deciding.ts'

/** From rows to what the API shows. */

export function sessionViewOf(row: SessionDetail): SessionView {
  return {
    id: row.id,
    workspace: { id: row.workspace_id, name: row.workspace.name, kind: row.workspace.program.kind },
    person: { id: row.person_id, login: row.person_login, name: row.person_name },
    mode: row.mode,
    ...(row.host_id === null ? {} : { host: { id: row.host_id, name: row.machine_name } }),
    ...(row.endpoint_id === null ? {} : { endpoint: { id: row.endpoint_id, name: row.machine_name } }),
    state: row.state,
    connected: row.connected,
    rights: row.rights,
    restrictions: [...row.restrictions],
    obligations: row.obligations,
    decisionId: row.decision_id,
    startedAt: row.started_at.toISOString(),
    endsAt: row.ends_at.toISOString(),
    ...(row.end === null ? {} : { end: endViewOf(row.end) }),
  }
}

function endViewOf({ code, reason, remedy, unlocks }: SessionEnd): SessionView['end'] {
  return { code, reason, ...(remedy === undefined ? {} : { remedy }), unlocks }
}

/** What the viewer of a session is told over its channel. */
export function sessionNoticeOf(row: SessionDetail): SessionNotice {
  return {
    state: row.state,
    rights: row.rights,
    restrictions: [...row.restrictions],
    obligations: row.obligations,
    ...(row.end === null ? {} : { end: row.end }),
  }
}

export function personViewOf({ id, login, name, groups, disabled }: PersonRow): PersonView {
  return { id, login, name, groups, disabled }
}

export function decisionRecordOf(
  row: DecisionRow & { readonly login: string; readonly name: string },
): DecisionRecord {
  return {
    id: row.id,
    at: row.at.toISOString(),
    person: { id: row.person_id, login: row.login, name: row.name },
    workspaceId: row.workspace_id,
    cause: row.cause,
    ...(row.session_id === null ? {} : { sessionId: row.session_id }),
    zone: row.zone,
    decision: row.decision,
    auditIndex: row.audit_index,
  }
}

export function hostViewOf(row: AgentRow, now: number): HostView {
  return {
    ...agentViewOf(row, now),
    pool: row.pool,
    draining: row.draining,
    capacity: row.capacity,
    sessions: row.placed,
    warm: row.report.warm ?? 0,
    cpuPercent: row.report.cpuPercent ?? 0,
    memoryFreeMiB: row.report.memoryFreeMiB ?? 0,
  }
}

export function gatewayViewOf(row: AgentRow, now: number): GatewayView {
  return {
    ...agentViewOf(row, now),
    url: row.report.publicUrl ?? '',
    connections: row.report.connections ?? 0,
  }
}

export function endpointViewOf(
  row: ListedEndpoint,
  leases: readonly LeaseDetail[],
  evidence: EndpointEvidenceRow | undefined,
  now: number,
): EndpointView {
  const { owner_id: id, owner_login: login, owner_name: name } = row
  return {
    ...agentViewOf(row, now, endpointSilenceMs),
    group: row.pool,
    deviceKey: row.device_key,
    ...(id === null || login === null || name === null ? {} : { owner: { id, login, name } }),
    ...(row.enrolled_at === null ? {} : { enrolledAt: row.enrolled_at.toISOString() }),
    ...(row.boot === null ? {} : { boot: bootViewOf(row.boot) }),
    reports: isReporting(evidence, now),
    forked: evidence?.forked_at != null,
    leases: leases.map(leaseViewOf),
  }
}

export function heldLeaseOf(row: ListedLease, now: number): HeldLease {
  const machine = { last_seen_at: row.endpoint_seen_at, revoked_at: row.endpoint_revoked_at }
  const online = isOnline(machine, now, endpointSilenceMs)
  return { ...leaseViewOf(row), endpoint: { id: row.endpoint_id, name: row.endpoint_name, online } }
}

function leaseViewOf(row: LeaseDetail): LeaseView {
  return {
    id: row.id,
    sessionId: row.session_id,
    person: { id: row.person_id, login: row.person_login, name: row.person_name },
    workspaceId: row.workspace_id,
    mode: row.mode,
    image: row.image,
    version: row.version,
    manifestDigest: row.manifest_digest,
    state: row.state,
    overlay: row.overlay,
    expiresAt: row.expires_at.toISOString(),
    ...(row.key_released_at === null ? {} : { keyReleasedAt: row.key_released_at.toISOString() }),
    ...(row.withdrawn_at === null ? {} : { withdrawnAt: row.withdrawn_at.toISOString() }),
    ...(row.notice === null ? {} : { notice: row.notice }),
    ...(row.stats === null ? {} : { stats: row.stats }),
  }
}

function agentViewOf(row: AgentRow, now: number, silenceMs = agentSilenceMs) {
  return {
    id: row.id,
    name: row.name,
    online: isOnline(row, now, silenceMs),
    ...(row.last_seen_at === null ? {} : { lastSeenAt: row.last_seen_at.toISOString() }),
    certificateExpiresAt: row.certificate_expires_at.toISOString(),
    revoked: row.revoked_at !== null,
  }
}

function isOnline(
  { revoked_at, last_seen_at }: Pick<AgentRow, 'revoked_at' | 'last_seen_at'>,
  now: number,
  silenceMs: number,
): boolean {
  return revoked_at === null && last_seen_at !== null && now - last_seen_at.getTime() < silenceMs
}
