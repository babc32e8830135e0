import { randomUUID } from 'node:crypto'
import {
  type AgentRow,
  type DecisionCause,
  imagesWithKey,
  insertDecision,
  newestLeased,
  onlineAgents,
  type PersonRow,
  workspaceById,
} from '#adapters/store-postgres/index.ts'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { DecisionView } from '#core/api/words.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { rankHosts } from '#core/broker/placement.ts'
import { decide, type Unavailable } from '#core/policy/index.ts'
import { type Claim, type DeliveryMode, type TrustContext, trustContext } from '#core/trust/index.ts'
import { badWayBeside } from '../endpoints/endpoint-beside.ts'
import type { Interception } from '../endpoints/proven-endpoint.ts'
import { seenArrival } from '../evidence/arrival.ts'
import { isBraking } from '../evidence/brake.ts'
import { type EndpointEvidence, readEvidence } from '../evidence/evidence.ts'
import { describesVm } from '../releases/release-contents.ts'
import type { Site } from '../site.ts'
import type { Rules } from './rules.ts'

/** An agent that has been silent for longer is not there. */
export const agentSilenceMs = 15_000
/** Endpoints are many: that they are connected is written once a minute, and at once when they are not any more. */
export const endpointSilenceMs = 150_000

/** Whose launch is decided, and from where. */
export interface Circumstances {
  readonly person: PersonRow
  /** Unix time of the sign-in, ms. */
  readonly signedInAt: number
  readonly address: string
  /** The enrolled machine that the person has proved to be at. */
  readonly endpoint: AgentRow | undefined
  /** Of the request; absent where it is only supposed. */
  readonly webSessionId?: string | undefined
  /** What the endpoint says about itself with the request; it can only lower trust (I5). */
  readonly evidence: readonly Claim[]
  /** Whether somebody opens the connection of this request. Absent where there is none, or where no endpoint has signed it. */
  readonly interception?: Interception | undefined
  /** By what the endpoint has proven itself with this request: `file` when no quote came with the proof. Absent where there is no request. */
  readonly deviceKey?: 'file' | 'tpm' | undefined
}

/**
 * Everything the site knows about a person's situation now. Where their request and their endpoint's agent are seen at two addresses, the
 * worse zone counts.
 *
 * @param isRunning for work that runs: while a brake holds it is not decided by what fell with it
 */
export async function contextOf(
  site: Site,
  rules: Rules,
  circumstances: Circumstances,
  { isRunning = false } = {},
): Promise<TrustContext> {
  const { endpoint, webSessionId } = circumstances
  const asBefore = isRunning && (await isBraking(site))
  const known = isManaged(endpoint)
    ? await readEvidence(site, endpoint.id, { asBefore, isRunning })
    : undefined
  const isBrowser = endpoint === undefined && webSessionId !== undefined
  const beside = isBrowser ? await badWayBeside(site, webSessionId, { asBefore }) : []
  return contextWith(site, rules, circumstances, { known, beside })
}

/** An endpoint that was enrolled and not revoked. */
export function isManaged(endpoint: AgentRow | undefined): endpoint is AgentRow {
  return endpoint !== undefined && endpoint.revoked_at === null
}

/**
 * The same where what the database knows was read before.
 *
 * @param read `known`: of the endpoint if it is managed; `beside`: see `badWayBeside`
 */
export function contextWith(
  site: Site,
  rules: Rules,
  { person, signedInAt, address, endpoint, evidence, deviceKey, interception }: Circumstances,
  {
    known = noEvidence,
    beside,
  }: { readonly known: EndpointEvidence | undefined; readonly beside: readonly Claim[] },
): TrustContext {
  const now = site.now()
  // A browser proves nothing about the machine that it runs on; an endpoint proves which of ours it is.
  const management = isManaged(endpoint) ? 'managed' : 'unmanaged'
  const seen: readonly Claim[] = [
    { name: 'endpoint.management', value: management, source: 'server', observedAt: now },
    { name: 'person.signIn', value: 'password', source: 'server', observedAt: signedInAt },
  ]
  // The evidence shows where the key of the enrolled machine is, not that it was the TPM that signed this request.
  const believed = known.claims.filter(
    ({ name, source }) => deviceKey !== 'file' || name !== 'endpoint.deviceKey' || source !== 'attested',
  )
  const reported = evidence.map((claim) => ({ ...claim, source: 'self' as const }))
  const addresses = [address, ...(known.address === undefined ? [] : [known.address])]
  const arrival = { addresses, beacon: known.beacon, interception }
  const { zone, zoneReason, claims } = seenArrival(rules, arrival, [...believed, ...beside], now)
  return trustContext({
    person: { id: person.id, groups: person.groups },
    claims: [...seen, ...claims, ...reported],
    zone,
    zoneReason,
    now,
  })
}

const noEvidence: EndpointEvidence = { claims: [] }

/** Why a mode cannot be delivered now, whatever the policy says. */
export type Availability = (mode: DeliveryMode) => Unavailable | undefined

const unbuilt: Unavailable = { code: 'NO_DELIVERER', reason: 'This site cannot deliver in this way yet' }
const noSuch: Unavailable = { code: 'NO_DELIVERER', reason: 'There is no such workspace' }
const full: Unavailable = { code: 'NO_CAPACITY', reason: 'No host has room for another session right now' }

/** No pool is called so. */
const noPool = ''

/**
 * The workspace of that id. One that is none is decided and written down like any other, so that neither the answer nor its time tells who
 * cannot reach a workspace that there is one of this name; it is never delivered.
 */
export async function workspaceAsked(site: Site, id: string): Promise<WorkspaceDefinition> {
  const none = { name: id, description: '', icon: '', pool: noPool, collections: [] }
  return (
    (await workspaceById(site.store.db, id)) ?? {
      ...none,
      id,
      modes: ['hosted-shared'],
      program: { kind: 'desktop' },
    }
  )
}

/** False for what stands in for a workspace that is none. */
export function isThere({ pool }: WorkspaceDefinition): boolean {
  return pool !== noPool
}

/** @param endpoint the machine that the person has proved to be at */
export async function readAvailability(
  site: Site,
  endpoint: AgentRow | undefined,
): Promise<(workspace: WorkspaceDefinition) => Promise<Availability>> {
  const [hosts, keys] = await Promise.all([hostsThere(site), imagesWithKey(site.store.db)])
  const find = findEachOnce(site, endpoint)
  return async (workspace) => {
    if (!isThere(workspace)) return () => noSuch
    const room = rankPool(hosts, workspace.pool).length > 0 ? undefined : full
    const disk =
      workspace.modes.includes('streamed-disk') || workspace.modes.includes('local-vm')
        ? await whyNoDisk(site, workspace, endpoint, keys, find)
        : unbuilt
    const vm = workspace.modes.includes('local-vm')
      ? ((await whyNoVm(site, workspace, find)) ?? disk)
      : unbuilt
    return (mode) => {
      if (mode === 'hosted-shared') return room
      if (mode === 'streamed-disk') return disk
      return mode === 'local-vm' ? vm : unbuilt
    }
  }
}

/** In no group, and first in no queue. */
const noEndpoint = { id: '00000000-0000-0000-0000-000000000000', groups: [] }

function targetOf(endpoint: AgentRow | undefined): Parameters<Site['findRelease']>[1] {
  return endpoint === undefined ? noEndpoint : { id: endpoint.id, groups: [endpoint.pool] }
}

type Find = (disk: Disk) => ReturnType<Site['findRelease']>
type Disk = NonNullable<WorkspaceDefinition['disk']>

/** Many workspaces have the same disk: what an endpoint would be given of it is asked once for all of them. */
function findEachOnce(site: Site, endpoint: AgentRow | undefined): Find {
  const found = new Map<string, ReturnType<Find>>()
  return (disk) => {
    const key = `${disk.image}:${disk.channel}`
    const release = found.get(key) ?? site.findRelease(disk, targetOf(endpoint))
    found.set(key, release)
    return release
  }
}

/** What is the site's own to mend comes first: while that is missing, no device of the person's makes a difference. */
async function whyNoDisk(
  site: Site,
  { disk }: WorkspaceDefinition,
  endpoint: AgentRow | undefined,
  keys: ReadonlySet<string>,
  find: Find,
): Promise<Unavailable | undefined> {
  if (disk === undefined) return unbuilt
  const { image } = disk
  if ((await find(disk)) === undefined)
    return { code: 'NO_RELEASE', reason: await whyNoRelease(site, disk, endpoint) }
  if (!keys.has(image))
    return { code: 'NO_RELEASE', reason: `The key of ${image} was not deposited with this site` }
  if (endpoint === undefined) return { code: 'NO_ENDPOINT', reason: 'This device is not enrolled' }
  return isConnected(site, endpoint)
    ? undefined
    : { code: 'NO_ENDPOINT', reason: 'The agent of this device is not connected to the site' }
}

async function whyNoRelease(site: Site, disk: Disk, endpoint: AgentRow | undefined): Promise<string> {
  const { image, channel } = disk
  const [others, given] = await Promise.all([
    site.findRelease(disk, noEndpoint),
    endpoint && newestLeased(site.store.db, endpoint.id, image),
  ])
  return others === undefined || given === undefined
    ? `No release of ${image} is published for ${channel}`
    : `This device has accepted release ${given.counter} of ${image}, and ${channel} has come to release ${others.counter}: ask an admin to promote a later one, or to release the older image anew`
}

/** The release may be there and not be made for it. */
async function whyNoVm(
  site: Site,
  { disk }: WorkspaceDefinition,
  find: Find,
): Promise<Unavailable | undefined> {
  const release = disk && (await find(disk))
  if (release === undefined || (await describesVm(site, release))) return undefined
  const reason = `The release ${release.name}:${release.version} describes no virtual machine`
  return { code: 'NO_RELEASE', reason }
}

function isConnected(site: Site, { seal_key, last_seen_at }: AgentRow): boolean {
  return seal_key !== null && last_seen_at !== null && site.now() - last_seen_at.getTime() < endpointSilenceMs
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
  const { zoneReason } = context
  const view = viewOf(decide(rules.policy, { context, workspace, available }))
  return zoneReason === undefined ? view : { ...view, zoneReason }
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
    /** The machine that the person has proved to be at. */
    readonly endpointId: string | undefined
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
    endpoint: made.endpointId ?? null,
    mode: decision.outcome?.mode ?? null,
    rights: decision.outcome?.rights ?? [],
    obligations: decision.outcome === undefined ? null : { ...decision.outcome.obligations },
    permittedBy: decision.outcome?.policies ?? [],
    refused: decision.refused.map(({ mode, code, reason, policies }) => ({ mode, code, reason, policies })),
    policyDigest: decision.policyDigest,
    contextDigest: decision.contextDigest,
    groups: [...context.person.groups],
    zone: { name: context.zone.name, kind: context.zone.kind, reason: context.zoneReason ?? null },
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
