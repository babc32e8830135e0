import type {
  HostedCopyRow,
  KeptCopyRow,
  LeasedCopyRow,
  ReplicaCopyRow,
} from '#adapters/store-postgres/index.ts'
import type { CopyState, DataCopy, Protection } from '#core/api/data.ts'
import { pausedGraceMs } from '#core/lease/index.ts'
import { type BeaconSeen, placeOf } from '#core/trust/index.ts'
import type { Overlay } from '#core/trust/words.ts'
import { seenArrival } from '../evidence/arrival.ts'
import { agentSilenceMs, endpointSilenceMs } from '../launches/deciding.ts'
import type { Rules } from '../launches/rules.ts'

/** From what the tables hold to what auditors are shown of it. */

/** What a copy is seen with. */
export interface Sight {
  /** Unix time, ms. */
  readonly now: number
  readonly rules: Pick<Rules, 'findZone'>
}

export function hostedCopyOf(row: HostedCopyRow, sight: Sight): DataCopy {
  return {
    ...commonOf(row),
    id: row.id,
    sessionId: row.id,
    machine: { ...machineOf(row, sight.now, agentSilenceMs), id: row.host_id, kind: 'host' },
    zone: zoneSeen([row.web_address, row.agent_address], row.beacon, sight),
    state: hostedState(row),
    protection: ['stays-on-host'],
    since: row.started_at.toISOString(),
    until: row.ends_at.toISOString(),
    ...(row.end === null ? {} : { notice: { code: row.end.code, reason: row.end.reason } }),
  }
}

export function leasedCopyOf(row: LeasedCopyRow, sight: Sight): DataCopy {
  return {
    ...onEndpoint(row, sight),
    zone: zoneSeen([row.web_address, row.agent_address], row.beacon, sight),
    state: row.state === 'ended' ? 'withdrawn' : row.state,
    protection: leaseProtection(row),
    since: (row.withdrawn_at ?? row.key_released_at ?? row.made_at).toISOString(),
    until: row.expires_at.toISOString(),
    ...(row.stats === null ? {} : { stats: row.stats }),
  }
}

/** A virtual machine that stands still in memory after its lease: its endpoint ends it by its own clock, if nobody opens it again. */
export function pausedCopyOf(row: LeasedCopyRow, sight: Sight): DataCopy {
  const saidAt = row.paused_at ?? row.ended_at ?? row.expires_at
  return {
    ...leasedCopyOf(row, sight),
    // Its person may have gone elsewhere.
    zone: zoneSeen([row.agent_address || row.web_address], row.beacon, sight),
    state: 'paused',
    protection: ['paused-in-memory', overlayProtection[row.overlay]],
    since: (row.ended_at ?? saidAt).toISOString(),
    until: new Date(saidAt.getTime() + pausedGraceMs).toISOString(),
  }
}

/** What is left of a lease that is over: nothing there can read it since then. */
export function keptCopyOf(row: KeptCopyRow, sight: Sight): DataCopy {
  const bytesWritten = Number(row.written)
  const copy = onEndpoint(row, sight)
  return {
    ...copy,
    machine: { ...copy.machine, ...(row.machine_hears_discards ? {} : { outOfReach: true as const }) },
    // Its person may have gone elsewhere.
    zone: zoneSeen([row.agent_address || row.web_address], row.beacon, sight),
    state: 'kept',
    protection: ['no-key', ...(row.discards ? (['discard-asked'] as const) : [])],
    since: (row.ended_at ?? row.expires_at).toISOString(),
    ...(row.stats === null ? {} : { stats: { ...row.stats, bytesWritten } }),
  }
}

/** What the data centre has of an overlay. @param site of this one: `{id, name}` */
export function replicaCopyOf(
  row: ReplicaCopyRow,
  site: { readonly id: string; readonly name: string },
): DataCopy {
  return {
    ...whoseOf(row),
    id: row.id,
    sessionId: row.session_id,
    leaseId: row.lease_id,
    machine: { ...site, kind: 'site', online: true },
    mode: row.mode,
    place: 'datacenter',
    zone: { name: 'unknown', kind: 'unknown' },
    image: { name: row.image, version: row.version, manifestDigest: row.manifest_digest },
    state: 'replicated',
    protection: ['replica-sealed'],
    since: row.made_at.toISOString(),
    replica: {
      sizeBytes: Number(row.bytes),
      copiedAt: (row.committed_at ?? row.made_at).toISOString(),
      endpoint: { id: row.endpoint_id, name: row.endpoint_name },
    },
  }
}

/** As decisions see it: the worst zone of the addresses that are known. */
export function zoneSeen(
  addresses: readonly (string | null)[],
  beacon: BeaconSeen | null,
  { rules, now }: Sight,
): DataCopy['zone'] {
  const known = addresses.filter((address) => address !== null && address !== '').map(String)
  if (known.length === 0) return { name: 'unknown', kind: 'unknown' }
  const arrival = { addresses: known, beacon: beacon ?? undefined, interception: undefined }
  const { zone, zoneReason } = seenArrival(rules, arrival, [], now)
  return { name: zone.name, kind: zone.kind, why: zoneReason }
}

type AnyRow = HostedCopyRow | LeasedCopyRow

function commonOf(row: AnyRow) {
  return { ...whoseOf(row), mode: row.mode, place: placeOf[row.mode] }
}

function whoseOf(row: AnyRow | ReplicaCopyRow): Pick<DataCopy, 'workspace' | 'person'> {
  const { person_id: id, person_login: login, person_name: name } = row
  return {
    workspace: {
      id: row.workspace_id,
      name: row.workspace.name,
      ...(row.workspace_deleted_at === null ? {} : { deleted: true }),
    },
    person: { id, login, name, ...(row.person_deleted_at === null ? {} : { deleted: true }) },
  }
}

function machineOf(
  { machine_name, machine_seen_at, machine_revoked_at }: AnyRow,
  now: number,
  silenceMs: number,
) {
  const isHeard = machine_seen_at !== null && now - machine_seen_at.getTime() < silenceMs
  return { name: machine_name, online: isHeard && machine_revoked_at === null }
}

function onEndpoint(row: LeasedCopyRow, sight: Sight) {
  return {
    ...commonOf(row),
    id: row.id,
    sessionId: row.session_id,
    leaseId: row.id,
    machine: {
      ...machineOf(row, sight.now, endpointSilenceMs),
      id: row.endpoint_id,
      kind: 'endpoint' as const,
    },
    image: { name: row.image, version: row.version, manifestDigest: row.manifest_digest },
    ...(row.notice === null ? {} : { notice: row.notice }),
  }
}

function hostedState({ state, connected }: HostedCopyRow): CopyState {
  if (state === 'starting') return 'starting'
  if (state !== 'ready') return 'ending'
  return connected ? 'in-use' : 'disconnected'
}

const overlayProtection: Readonly<Record<Overlay, Protection>> = {
  discard: 'overlay-discarded',
  keep: 'overlay-kept',
  replicate: 'overlay-replicated',
}

function leaseProtection({ state, key_released_at, overlay }: LeasedCopyRow): Protection[] {
  const written = overlayProtection[overlay]
  // Of a lease that was withdrawn before, it never goes out.
  if (key_released_at === null) return ['key-not-sent', written]
  return [state === 'withdrawn' ? 'key-withdrawn' : 'key-in-memory', written]
}
