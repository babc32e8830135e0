import { randomUUID } from 'node:crypto'
import {
  type AgentRow,
  type DecisionCause,
  imagesWithKey,
  insertDecision,
  onlineAgents,
  type PersonRow,
} from '#adapters/store-postgres/index.ts'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { DecisionView } from '#core/api/words.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { rankHosts } from '#core/broker/placement.ts'
import { decide, type Unavailable } from '#core/policy/index.ts'
import { type Claim, type DeliveryMode, type TrustContext, trustContext } from '#core/trust/index.ts'
import type { Rules } from './rules.ts'
import type { Site } from './site.ts'

/** An agent that has been silent for longer is not there. */
export const agentSilenceMs = 15_000

/** Whose launch is decided, and from where. */
export interface Circumstances {
  readonly person: PersonRow
  /** Unix time of the sign-in, ms. */
  readonly signedInAt: number
  readonly address: string
  /** The enrolled machine that the person has proved to be at. */
  readonly endpoint: AgentRow | undefined
  /** What the endpoint says about itself; it can only lower trust (I5). */
  readonly evidence: readonly Claim[]
}

/** Everything the site knows about a person's situation now. */
export function contextOf(
  site: Site,
  rules: Rules,
  { person, signedInAt, address, endpoint, evidence }: Circumstances,
): TrustContext {
  const now = site.now()
  // A browser proves nothing about the machine that it runs on; an endpoint proves which of ours it is.
  const management = endpoint !== undefined && endpoint.revoked_at === null ? 'managed' : 'unmanaged'
  const seen: readonly Claim[] = [
    { name: 'endpoint.management', value: management, source: 'server', observedAt: now },
    { name: 'person.signIn', value: 'password', source: 'server', observedAt: signedInAt },
  ]
  const reported = evidence.map((claim) => ({ ...claim, source: 'self' as const }))
  return trustContext({
    person: { id: person.id, groups: person.groups },
    claims: [...seen, ...reported],
    zone: rules.zoneOf(address),
    now,
  })
}

/** Why a mode cannot be delivered now, whatever the policy says. */
export type Availability = (mode: DeliveryMode) => Unavailable | undefined

const unbuilt: Unavailable = { code: 'NO_DELIVERER', reason: 'This site cannot deliver in this way yet' }
const full: Unavailable = { code: 'NO_CAPACITY', reason: 'No host has room for another session right now' }

/** @param endpoint the machine that the person has proved to be at */
export async function readAvailability(
  site: Site,
  endpoint: AgentRow | undefined,
): Promise<(workspace: WorkspaceDefinition) => Promise<Availability>> {
  const [hosts, keys] = await Promise.all([hostsThere(site), imagesWithKey(site.store.db)])
  return async (workspace) => {
    const room = rankPool(hosts, workspace.pool).length > 0 ? undefined : full
    const disk = workspace.modes.includes('streamed-disk')
      ? await whyNoDisk(site, workspace, endpoint, keys)
      : unbuilt
    return (mode) => (mode === 'hosted-shared' ? room : mode === 'streamed-disk' ? disk : unbuilt)
  }
}

/** In no group, and first in no queue. */
const noEndpoint = { id: '00000000-0000-0000-0000-000000000000', groups: [] }

/** What is the site's own to mend comes first: while that is missing, no device of the person's makes a difference. */
async function whyNoDisk(
  site: Site,
  { disk }: WorkspaceDefinition,
  endpoint: AgentRow | undefined,
  keys: ReadonlySet<string>,
): Promise<Unavailable | undefined> {
  if (disk === undefined) return unbuilt
  const { image, channel } = disk
  const reason = `No release of ${image} is published for ${channel}`
  const target = endpoint === undefined ? noEndpoint : { id: endpoint.id, groups: [endpoint.pool] }
  if ((await site.findRelease(disk, target)) === undefined) return { code: 'NO_RELEASE', reason }
  if (!keys.has(image))
    return { code: 'NO_RELEASE', reason: `The key of ${image} was not deposited with this site` }
  if (endpoint === undefined) return { code: 'NO_ENDPOINT', reason: 'This device is not enrolled' }
  return isThere(site, endpoint)
    ? undefined
    : { code: 'NO_ENDPOINT', reason: 'The agent of this device is not connected to the site' }
}

function isThere(site: Site, { seal_key, last_seen_at }: AgentRow): boolean {
  return seal_key !== null && last_seen_at !== null && site.now() - last_seen_at.getTime() < agentSilenceMs
}

/** Hosts of a pool that can take a session, best first. */
export async function placeableHosts(site: Site, pool: string): Promise<readonly string[]> {
  return rankPool(await hostsThere(site), pool)
}

async function hostsThere(site: Site): Promise<readonly AgentRow[]> {
  const hosts = await onlineAgents(site.store.db, 'host', new Date(site.now() - agentSilenceMs))
  return hosts.filter((host) => host.host_key !== null)
}

function rankPool(hosts: readonly AgentRow[], pool: string): readonly string[] {
  const loads = hosts
    .filter((host) => host.pool === pool)
    .map(({ id, placed, capacity, draining, report }) => ({
      id,
      placed,
      capacity,
      draining,
      cpuPercent: report.cpuPercent ?? 0,
      memoryFreeMiB: report.memoryFreeMiB ?? 0,
    }))
  return rankHosts(loads, Math.random)
}

export function decideWorkspace(
  rules: Rules,
  context: TrustContext,
  workspace: WorkspaceDefinition,
  available: Availability,
): DecisionView {
  return viewOf(decide(rules.policy, { context, workspace, available }))
}

/** The API's and the log's shape of a decision. */
function viewOf(decision: ReturnType<typeof decide>): DecisionView {
  return structuredClone(decision) as DecisionView
}

export interface RecordedDecision {
  readonly id: string
  readonly decision: DecisionView
}

/**
 * Writes a decision to the audit log, with the policy's digest and every claim it rests on, and then to the table that admins read.
 * INVARIANT I7: nothing is delivered before this resolves.
 */
export async function recordDecision(
  site: Site,
  made: {
    readonly person: PersonRow
    readonly workspaceId: string
    readonly sessionId: string | undefined
    readonly cause: DecisionCause
    readonly context: TrustContext
    readonly decision: DecisionView
    readonly actor: AuditActor
  },
): Promise<RecordedDecision> {
  const id = randomUUID()
  const { person, context, decision } = made
  const index = await site.audit.record('decision', made.actor, person.id, {
    decision: id,
    cause: made.cause,
    workspace: made.workspaceId,
    session: made.sessionId ?? null,
    mode: decision.outcome?.mode ?? null,
    rights: decision.outcome?.rights ?? [],
    obligations: decision.outcome === undefined ? null : { ...decision.outcome.obligations },
    permittedBy: decision.outcome?.policies ?? [],
    refused: decision.refused.map(({ mode, code, reason, policies }) => ({ mode, code, reason, policies })),
    policyDigest: decision.policyDigest,
    contextDigest: decision.contextDigest,
    groups: [...context.person.groups],
    zone: { name: context.zone.name, kind: context.zone.kind },
    claims: Object.fromEntries(
      Object.entries(context.claims).map(([name, { value, source, ageSec }]) => [
        name,
        { value, source, ageSec },
      ]),
    ),
  })
  await insertDecision(site.store.db, {
    id,
    at: new Date(site.now()),
    person_id: person.id,
    workspace_id: made.workspaceId,
    session_id: made.sessionId ?? null,
    cause: made.cause,
    zone: context.zone.name,
    decision: JSON.stringify(decision),
    audit_index: String(index),
  })
  site.metrics.count('decisions', { outcome: decision.outcome?.mode ?? 'refused', cause: made.cause })
  return { id, decision }
}
