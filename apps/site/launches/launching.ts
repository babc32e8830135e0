import { randomUUID } from 'node:crypto'
import {
  agentById,
  liveSessions,
  placeSession,
  type SessionDetail,
  sessionById,
  updateSession,
} from '#adapters/store-postgres/index.ts'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { Delivery, HostedDelivery } from '#core/api/person.ts'
import type { DecisionView } from '#core/api/words.ts'
import { accountOf } from '#core/broker/account.ts'
import { type Claim, placeOf } from '#core/trust/index.ts'
import { adoptEndpoint } from '../endpoints/endpoint-inventory.ts'
import { actorOf, type SignedIn } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { decideAgain } from './decide-again.ts'
import {
  contextOf,
  decideWorkspace,
  endpointSilenceMs,
  placeableHosts,
  type RecordedDecision,
  readAvailability,
  recordDecision,
  workspaceAsked,
} from './deciding.ts'
import { deliver, type HostedSession, isHosted } from './delivering.ts'
import { beginOnEndpoint } from './disk-delivering.ts'
import { mayHearOf } from './explaining.ts'
import { finishSession } from './live-sessions.ts'
import { readRules } from './rules.ts'

export interface LaunchWish {
  readonly workspaceId: string
  /** X25519 public key, 32 bytes. */
  readonly clientKey: Uint8Array
  readonly evidence: readonly Claim[]
  readonly width: number
  readonly height: number
  /** Of an endpoint, 32 bytes in base64url. */
  readonly nonce?: string | undefined
  /** Of an endpoint: the highest counter that it has accepted of each image, as it says. */
  readonly floors?: Readonly<Record<string, number>> | undefined
  /** Whoever asks can open nothing but what runs on the endpoint itself. */
  readonly atEndpoint?: boolean
  /** Ends the session that is open elsewhere: it begins anew where this launch leads. */
  readonly switch?: boolean
}

/** A host or endpoint that has been away for this long does not get its person back: a new session starts elsewhere. */
const hostPatienceMs = 60_000
const endpointPatienceMs = endpointSilenceMs + 45_000

/**
 * One launch: decide, write the decision down, find or place the session, hand out the ticket or the lease.
 *
 * @throws {SiteError} NOT_FOUND, LAUNCH_REFUSED (with the decision), LAUNCH_NO_ROOM, LAUNCH_LATE, LAUNCH_NO_GATEWAY, LAUNCH_ON_ENDPOINT,
 *   LAUNCH_HOSTED_NOW
 */
export async function launch(
  site: Site,
  holder: SignedIn,
  wish: LaunchWish,
): Promise<{ readonly decision: DecisionView; readonly delivery: Delivery }> {
  const started = performance.now()
  const defined = await workspaceAsked(site, wish.workspaceId)
  const workspace = wish.atEndpoint === true ? onEndpoint(defined) : defined
  const [running] = await reusableSessions(site, holder.person.id, workspace.id)
  const hosted = running !== undefined && isHosted(running) ? running : undefined
  if (running !== undefined && hosted === undefined) requireItsEndpoint(running, holder)
  if (hosted !== undefined && wish.atEndpoint === true && wish.switch !== true) throw hostedNow(workspace)
  const asked = wish.switch === true ? undefined : hosted
  const made = await decideFor(site, holder, workspace, wish.evidence, asked)
  if (made.decision.outcome === undefined) throw await refusedTo(site, holder, defined, made.decision)
  // Whoever wants it elsewhere and would be given the same again keeps what runs.
  const existing = asked ?? (made.decision.outcome?.mode === hosted?.mode ? hosted : undefined)
  // Its device asks anew: whatever held it there is gone, or is about to be. Or its person wants it elsewhere.
  if (running !== undefined && existing === undefined)
    await finishSession(site, running.id, openedAgain, actorOf(holder))
  const delivery = await begin(site, holder, workspace, wish, made, existing)
  await adoptEndpoint(site, holder.circumstances.endpoint, holder.person.id)
  site.metrics.time('launch', (performance.now() - started) / 1000)
  return { decision: made.decision, delivery }
}

/** The same workspace with the modes alone whose data place is the endpoint. */
function onEndpoint(workspace: WorkspaceDefinition): WorkspaceDefinition {
  return { ...workspace, modes: workspace.modes.filter((mode) => placeOf[mode] === 'endpoint') }
}

function hostedNow({ name }: WorkspaceDefinition): SiteError {
  return new SiteError('LAUNCH_HOSTED_NOW', `${name} is open in the data centre`, {
    remedy: 'Go on there, or open it on this device again from the portal, which ends it there.',
  })
}

const openedAgain = { code: 'SESSION_OPENED_AGAIN', reason: 'It was opened again on this device' }

async function begin(
  site: Site,
  holder: SignedIn,
  workspace: WorkspaceDefinition,
  wish: LaunchWish,
  made: RecordedDecision,
  existing: HostedSession | undefined,
): Promise<Delivery> {
  const { decision, id } = made
  if (decision.outcome?.mode === 'streamed-disk' || decision.outcome?.mode === 'local-vm')
    return beginOnEndpoint(site, holder, workspace, wish, made)
  const session =
    existing === undefined
      ? await place(site, holder, workspace, wish, decision, id)
      : await take(site, holder, existing, wish, decision, id)
  return deliverWatched(site, session, wish.clientKey, holder)
}

/** Unsaved work may be on the other machine: only its person, there or by ending it, gives it up. */
function requireItsEndpoint(session: SessionDetail, { circumstances }: SignedIn): void {
  if (circumstances.endpoint?.id === session.endpoint_id) return
  throw new SiteError('LAUNCH_ON_ENDPOINT', `this workspace is open on the device ${session.machine_name}`, {
    remedy: 'Go on there, or end it and launch again.',
  })
}

/** The person's live session of the workspace, unless its machine has been away too long: that one ends when it returns. */
async function reusableSessions(
  site: Site,
  personId: string,
  workspaceId: string,
): Promise<readonly SessionDetail[]> {
  const sessions = await liveSessions(site.store.db, { personId, workspaceId })
  const usable: SessionDetail[] = []
  for (const session of sessions) {
    if (session.state === 'ending') continue
    const machine = await agentById(site.store.db, session.host_id ?? session.endpoint_id ?? '')
    const silentMs = site.now() - (machine?.last_seen_at?.getTime() ?? 0)
    const patienceMs = isHosted(session) ? hostPatienceMs : endpointPatienceMs
    if (silentMs < patienceMs && machine?.revoked_at === null) usable.push(session)
    else
      await finishSession(
        site,
        session.id,
        isHosted(session)
          ? { code: 'SESSION_HOST_AWAY', reason: 'Its host could not be reached' }
          : { code: 'SESSION_ENDPOINT_AWAY', reason: 'Its device could not be reached' },
        { type: 'site', id: site.siteId },
      )
  }
  return usable
}

async function decideFor(
  site: Site,
  holder: SignedIn,
  workspace: WorkspaceDefinition,
  evidence: readonly Claim[],
  existing: SessionDetail | undefined,
): Promise<RecordedDecision> {
  const [rules, availability] = await Promise.all([
    readRules(site.store.db),
    readAvailability(site, holder.circumstances.endpoint),
  ])
  const isRunning = existing !== undefined
  const context = await contextOf(site, rules, { ...holder.circumstances, evidence }, { isRunning })
  // A session that runs needs no new room: it is decided in its own mode.
  const decision =
    existing === undefined
      ? decideWorkspace(rules, context, workspace, await availability(workspace))
      : decideWorkspace(rules, context, { ...workspace, modes: [existing.mode] }, () => undefined)
  const recorded = await recordDecision(site, {
    person: holder.person,
    workspaceId: workspace.id,
    sessionId: existing?.id,
    endpointId: holder.circumstances.endpoint?.id,
    cause: existing === undefined ? 'launch' : 'reconnect',
    context,
    decision,
    actor: actorOf(holder),
  })
  return recorded
}

/** Why, to whoever may hear of the workspace. */
async function refusedTo(
  site: Site,
  holder: SignedIn,
  workspace: WorkspaceDefinition,
  decision: DecisionView,
): Promise<SiteError> {
  return (await mayHearOf(site, holder, workspace, decision))
    ? refusedBecause(decision)
    : notFound('workspace')
}

function refusedBecause(decision: DecisionView): SiteError {
  const noRoom = decision.refused.find((refusal) => refusal.code === 'NO_CAPACITY')
  if (noRoom !== undefined) {
    return new SiteError('LAUNCH_NO_ROOM', noRoom.reason, {
      remedy: 'Try again in a moment.',
      retryAfter: 5,
      decision,
    })
  }
  const [first] = decision.refused
  const remedy = first?.unlocks[0]?.changes.map((change) => change.remedy).join('. ')
  return new SiteError('LAUNCH_REFUSED', first?.reason ?? 'no delivery mode is permitted', {
    remedy: remedy ?? 'Ask an admin if you need this workspace from here.',
    decision,
  })
}

async function place(
  site: Site,
  { person, webSession, circumstances }: SignedIn,
  workspace: WorkspaceDefinition,
  wish: LaunchWish,
  { outcome }: DecisionView,
  decisionId: string,
): Promise<HostedSession> {
  if (outcome === undefined) throw new SiteError('SITE_BROKEN', 'a refused launch was to be placed')
  const { db } = site.store
  const now = site.now()
  const id = randomUUID()
  for (const hostId of await placeableHosts(site, workspace.pool)) {
    await site.audit.record('session-started', { type: 'person', id: person.id }, id, {
      host: hostId,
      workspace: workspace.id,
      mode: outcome.mode,
      decision: decisionId,
    })
    const placed = await placeSession(db, {
      id,
      person_id: person.id,
      web_session_id: webSession.id,
      workspace_id: workspace.id,
      host_id: hostId,
      from_endpoint_id: circumstances.endpoint?.id ?? null,
      mode: outcome.mode,
      account: accountOf(site.accountsOf, person),
      width: wish.width,
      height: wish.height,
      state: 'starting',
      rights: outcome.rights,
      restrictions: JSON.stringify(outcome.restrictions),
      obligations: JSON.stringify(outcome.obligations),
      evidence: JSON.stringify(wish.evidence),
      decision_id: decisionId,
      started_at: new Date(now),
      ends_at: new Date(now + outcome.obligations.sessionMinutes * 60_000),
    })
    if (placed !== 'placed') await recordNotPlaced(site, id, person.id, hostId)
    if (placed === 'full') continue
    if (placed === 'exists')
      throw new SiteError('CONFLICT', 'this workspace is being started already', {
        remedy: 'Try again in a moment.',
        retryAfter: 1,
      })
    const session = await sessionById(db, id)
    if (session === undefined || !isHosted(session)) throw notFound('session')
    await site.hints.tell({ topic: 'host', id: hostId })
    await site.hints.tell({ topic: 'person', id: person.id })
    return session
  }
  throw new SiteError('LAUNCH_NO_ROOM', 'every host is full right now', {
    remedy: 'Try again in a moment.',
    retryAfter: 5,
  })
}

/** What the log was told before had no effect after all. */
async function recordNotPlaced(site: Site, id: string, person: string, host: string): Promise<void> {
  const data = { code: 'SESSION_NOT_PLACED', reason: 'No place was taken for it', person, host }
  await site.audit.record('session-ended', { type: 'site', id: site.siteId }, id, data)
}

/** The running session under today's decision, now held by this web session. */
async function take(
  site: Site,
  holder: SignedIn,
  session: HostedSession,
  wish: Pick<LaunchWish, 'evidence'>,
  { outcome }: DecisionView,
  decisionId: string,
): Promise<HostedSession> {
  if (outcome === undefined) throw new SiteError('SITE_BROKEN', 'a refused launch was to be taken')
  await updateSession(site.store.db, session.id, {
    web_session_id: holder.webSession.id,
    from_endpoint_id: holder.circumstances.endpoint?.id ?? null,
    rights: outcome.rights,
    restrictions: JSON.stringify(outcome.restrictions),
    obligations: JSON.stringify(outcome.obligations),
    evidence: JSON.stringify(wish.evidence),
    decision_id: decisionId,
  })
  const taken = await sessionById(site.store.db, session.id)
  if (taken === undefined || !isHosted(taken)) throw notFound('session')
  return taken
}

/**
 * A new ticket for a session that runs, after its decision was taken again for whoever asks and from where.
 *
 * @throws {SiteError} NOT_FOUND, LAUNCH_REFUSED, LAUNCH_LATE, LAUNCH_NO_GATEWAY, LAUNCH_ON_ENDPOINT
 */
export async function reconnect(
  site: Site,
  holder: SignedIn,
  sessionId: string,
  wish: Pick<LaunchWish, 'clientKey' | 'evidence'>,
): Promise<HostedDelivery> {
  const session = await sessionById(site.store.db, sessionId)
  if (
    session === undefined ||
    session.person_id !== holder.person.id ||
    session.state === 'ended' ||
    session.state === 'ending'
  ) {
    throw notFound('session')
  }
  if (!isHosted(session))
    throw new SiteError('LAUNCH_ON_ENDPOINT', `this session runs on the device ${session.machine_name}`, {
      remedy: 'Go on there, or end it and launch again.',
    })
  const { id, decision } = await decideFor(site, holder, session.workspace, wish.evidence, session)
  if (decision.outcome === undefined) throw refusedBecause(decision)
  const taken = await take(site, holder, session, wish, decision, id)
  return deliverWatched(site, taken, wish.clientKey, holder)
}

/**
 * Delivers, and has the session decided again meanwhile: what the decision rests on may have changed between it and the session's row,
 * and then nobody else knows that this session is to be looked at.
 */
async function deliverWatched(
  site: Site,
  session: HostedSession,
  clientKey: Uint8Array,
  holder: SignedIn,
): Promise<HostedDelivery> {
  const [delivery] = await Promise.all([
    deliver(site, session, clientKey, actorOf(holder)),
    decideAgain(site, 'sweep', { sessionId: session.id }),
  ])
  return delivery
}
