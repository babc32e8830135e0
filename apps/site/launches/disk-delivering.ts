import { randomUUID } from 'node:crypto'
import {
  type AgentRow,
  imageOf,
  leaseOfSession,
  openLeases,
  placeOnEndpoint,
  releaseRow,
  type SessionDetail,
  sessionById,
} from '#adapters/store-postgres/index.ts'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { DiskDelivery, LeasedDelivery, VmDelivery } from '#core/api/person.ts'
import type { DecisionView } from '#core/api/words.ts'
import { accountOf } from '#core/broker/account.ts'
import { leaseUntil, maxOpenLeases } from '#core/lease/index.ts'
import { keyTicketOf } from '../data/key-release.ts'
import type { SignedIn } from '../people/signed-in.ts'
import { direct, type PublishedRelease } from '../releases/directing.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { decideAgain } from './decide-again.ts'
import type { RecordedDecision } from './deciding.ts'
import type { LaunchWish } from './launching.ts'
import { finishSession } from './live-sessions.ts'
import { sessionViewOf } from './views.ts'

/** How a disk reaches an endpoint, to be streamed or for a VM: a session, its lease and the director's word. The key follows: `key-release.ts`. */

/** What a launch on an endpoint is about, once everything it needs is there. */
interface DiskLaunch {
  readonly endpoint: AgentRow
  readonly disk: NonNullable<WorkspaceDefinition['disk']>
  readonly release: PublishedRelease
  readonly nonce: string
}

/**
 * INVARIANT I7: the session is in the audit log before it is there.
 *
 * @throws {SiteError} BAD_REQUEST without a nonce, CONFLICT, LAUNCH_NO_ROOM
 */
export async function beginOnEndpoint(
  site: Site,
  holder: SignedIn,
  workspace: WorkspaceDefinition,
  wish: LaunchWish,
  made: RecordedDecision,
): Promise<DiskDelivery | VmDelivery> {
  const launch = await prepare(site, holder, workspace, wish)
  const session = await placeWithLease(site, holder, workspace, wish, made, launch)
  try {
    // What the decision rests on may have changed before the session was there to be decided again.
    await decideAgain(site, 'sweep', { sessionId: session.id })
    const delivery = await deliverUnderLease(site, session, launch)
    return session.mode === 'local-vm'
      ? { kind: 'local-vm', ...delivery }
      : { kind: 'streamed-disk', ...delivery, application: applicationOf(launch) }
  } catch (error) {
    const end = { code: 'SESSION_NOT_DELIVERED', reason: 'It could not be handed out' }
    await finishSession(site, session.id, end, { type: 'site', id: site.siteId })
    throw error
  }
}

async function prepare(
  site: Site,
  { circumstances: { endpoint } }: SignedIn,
  { disk }: WorkspaceDefinition,
  { nonce, floors = {} }: LaunchWish,
): Promise<DiskLaunch> {
  if (nonce === undefined)
    throw new SiteError('BAD_REQUEST', 'a launch on an endpoint brings a nonce', {
      remedy: 'Launch with `trustcast launch` of this version.',
    })
  if (endpoint?.seal_key == null || disk === undefined)
    throw new SiteError('SITE_BROKEN', 'a disk was to go where none can')
  // Before anything is written down of it; what counts is asked once more when it is stored.
  if ((await openLeases(site.store.db, endpoint.id)).length >= maxOpenLeases) throw noRoomOn(endpoint)
  const floor = Object.hasOwn(floors, disk.image) ? floors[disk.image] : undefined
  const release = await site.findRelease(disk, { id: endpoint.id, groups: [endpoint.pool], floor })
  // It was there when the decision was made.
  if (release === undefined)
    throw new SiteError('CONFLICT', `the release of ${disk.image} was just withdrawn`, {
      remedy: 'Try again in a moment.',
      retryAfter: 1,
    })
  return { endpoint, disk, release, nonce }
}

function noRoomOn({ name }: AgentRow): SiteError {
  return new SiteError('LAUNCH_NO_ROOM', `${name} has ${maxOpenLeases} workspaces open already`, {
    remedy: 'Close some that are open there.',
  })
}

async function placeWithLease(
  site: Site,
  holder: SignedIn,
  workspace: WorkspaceDefinition,
  wish: LaunchWish,
  { id: decisionId, decision: { outcome } }: RecordedDecision,
  launch: DiskLaunch,
): Promise<SessionDetail> {
  if (outcome === undefined) throw new SiteError('SITE_BROKEN', 'a refused launch was to be placed')
  const now = site.now()
  const id = randomUUID()
  const { person } = holder
  const { endpoint, release } = launch
  await site.audit.record('session-started', { type: 'person', id: person.id }, id, {
    endpoint: endpoint.id,
    workspace: workspace.id,
    mode: outcome.mode,
    decision: decisionId,
    image: release.name,
    version: release.version,
    counter: release.counter,
    manifestDigest: release.manifestDigest,
  })
  const { session, lease } = rowsOf(site, holder, workspace, wish, { id, now, decisionId, outcome }, launch)
  const stored = await placeOnEndpoint(site.store.db, session, lease)
  if (stored !== 'placed') {
    const data = { code: 'SESSION_NOT_PLACED', reason: 'No place was taken for it', person: person.id }
    await site.audit.record('session-ended', { type: 'site', id: site.siteId }, id, data)
    if (stored === 'full') throw noRoomOn(endpoint)
    throw new SiteError('CONFLICT', 'this workspace is being started already', {
      remedy: 'Try again in a moment.',
      retryAfter: 1,
    })
  }
  const placed = await sessionById(site.store.db, id)
  if (placed === undefined) throw notFound('session')
  await site.hints.tell({ topic: 'person', id: person.id })
  return placed
}

function rowsOf(
  site: Site,
  { person, webSession }: SignedIn,
  workspace: WorkspaceDefinition,
  wish: LaunchWish,
  made: {
    readonly id: string
    readonly now: number
    readonly decisionId: string
    readonly outcome: NonNullable<DecisionView['outcome']>
  },
  { endpoint, release }: DiskLaunch,
) {
  const { id, now, decisionId, outcome } = made
  const { mode, obligations } = outcome
  const endsAt = now + obligations.sessionMinutes * 60_000
  const shared = { person_id: person.id, endpoint_id: endpoint.id, workspace_id: workspace.id, mode }
  const session = {
    ...shared,
    id,
    web_session_id: webSession.id,
    host_id: null,
    from_endpoint_id: endpoint.id,
    account: accountOf(site.accountsOf, person),
    width: wish.width,
    height: wish.height,
    state: 'starting' as const,
    rights: outcome.rights,
    restrictions: JSON.stringify(outcome.restrictions),
    obligations: JSON.stringify(obligations),
    evidence: JSON.stringify(wish.evidence),
    decision_id: decisionId,
    started_at: new Date(now),
    ends_at: new Date(endsAt),
  }
  const lease = {
    ...shared,
    id: randomUUID(),
    session_id: id,
    image: release.name,
    version: release.version,
    counter: String(release.counter),
    manifest_digest: release.manifestDigest,
    overlay: obligations.overlay,
    state: 'offered' as const,
    made_at: new Date(now),
    expires_at: new Date(leaseUntil(now, obligations, endsAt)),
  }
  return { session, lease }
}

function applicationOf({ disk: { application } }: DiskLaunch): string {
  if (application !== undefined) return application
  throw new SiteError('SITE_BROKEN', 'a workspace streams a disk and names no application')
}

async function deliverUnderLease(
  site: Site,
  session: SessionDetail,
  { endpoint, disk, release, nonce }: DiskLaunch,
): Promise<LeasedDelivery> {
  const lease = await leaseOfSession(site.store.db, session.id)
  if (lease === undefined) throw notFound('lease')
  const direction = direct(site, release, { endpointId: endpoint.id, nonce, channel: disk.channel })
  return {
    session: { ...sessionViewOf(session), endpoint: { id: endpoint.id, name: endpoint.name } },
    lease: {
      id: lease.id,
      expiresAt: lease.expires_at.toISOString(),
      leftMs: Math.max(0, lease.expires_at.getTime() - site.now()),
      overlay: lease.overlay,
      keyTicket: keyTicketOf(site, lease.id),
    },
    release: {
      image: release.name,
      version: release.version,
      counter: release.counter,
      manifestDigest: release.manifestDigest,
    },
    direction,
    stores: await storesOf(site, release),
  }
}

/** Where the image's bytes are: what this site says of all images, then where this one was when it was registered. */
async function storesOf(site: Site, { name, version }: PublishedRelease): Promise<string[]> {
  const { db } = site.store
  const content = (await releaseRow(db, name, version))?.content_version ?? version
  const registered = (await imageOf(db, name, content))?.store
  return [...new Set([...site.config.stores, ...(registered === undefined ? [] : [registered])])]
}
