import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentRow,
  agentById,
  type DecisionCause,
  dueSessions,
  endSession,
  freezeSession,
  isAway,
  type LeaseDetail,
  liveSessions,
  personById,
  type SessionDetail,
  type SessionEnd,
  sessionById,
  thawSession,
  updateSession,
  webSessionById,
  workRedecisions,
} from '#adapters/store-postgres/index.ts'
import type { DecisionView, Unlock } from '#core/api/words.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { type DeliveryMode, placeOf, type TrustContext } from '#core/trust/index.ts'
import {
  changesOf,
  finishLease,
  leasesPastTheirEnd,
  withdrawLeaseAlone,
  withdrawLeaseOf,
} from '../data/leases.ts'
import { soonerOf } from '../hints.ts'
import { oneByOne } from '../one-by-one.ts'
import type { Site } from '../site.ts'
import { decideAgain } from './decide-again.ts'
import { contextOf, decideWorkspace, readAvailability, recordDecision } from './deciding.ts'
import { type Rules, readRules } from './rules.ts'
import { circumstancesOf, decideInMode, findUnchanged, isSame } from './unchanged.ts'

/** What happens to sessions while they run: decided again, changed in place, ended. */

/** How long a person sees why before a session that is no longer permitted ends. Nothing passes meanwhile. */
const farewellMs = 20_000

const sweepMs = 60_000

const systemActor: AuditActor = { type: 'system', id: 'trust' }

/**
 * Works re-decisions and sessions whose time has come, until `signal`. Every node runs this;
 * the store sees to it that each piece of work is done once.
 */
export async function watchSessions(site: Site, signal: AbortSignal): Promise<void> {
  let woken = Promise.withResolvers<void>()
  const off = site.hints.on((hint) => {
    if (hint.topic === 'redecide' || hint.topic === 'lost') woken.resolve()
  })
  signal.addEventListener('abort', () => woken.resolve(), { once: true })
  let lastSweep = site.now()
  while (!signal.aborted) {
    woken = Promise.withResolvers<void>()
    let worked = 0
    try {
      // Not all at once: a sweep of very many takes minutes, and what is over ends in between.
      worked = await workRedecisions(
        site.store.db,
        (id, cause) => redecide(site, id, cause),
        (ids) => findUnchanged(site, ids),
      )
      await endDueSessions(site)
      await endDueLeases(site)
      // Claims grow old without anybody telling: look at everything once a minute.
      if (site.now() - lastSweep > sweepMs) {
        lastSweep = site.now()
        await decideAgain(site, 'sweep')
      }
    } catch (error) {
      if (!isAway(error)) site.log.error({ err: error }, 'sessions could not be looked after')
      await sleep(500)
    }
    if (worked === 0) await soonerOf(woken.promise, 1_000)
  }
  off()
}

async function endDueSessions(site: Site): Promise<void> {
  for (const id of await dueSessions(site.store.db, new Date(site.now())))
    await finish(site, id, (session) => dueEndOf(session, site.now()), systemActor)
}

/** Undefined when its time was moved since it was found due. */
function dueEndOf({ state, end, ends_at: endsAt }: SessionDetail, now: number): End | undefined {
  if (state === 'ending') return end !== null && Date.parse(end.at) < now ? end : undefined
  return endsAt.getTime() < now ? { code: 'SESSION_OVER', reason: 'Its time was up' } : undefined
}

/** By now their endpoints have stopped by themselves: what was to be read under these leases cannot be read any more. */
async function endDueLeases(site: Site): Promise<void> {
  const end = { code: 'LEASE_EXPIRED', reason: 'Its device was not heard of in time' }
  for (const { id } of await leasesPastTheirEnd(site)) {
    const isPast = ({ expires_at: at }: LeaseDetail): boolean => at.getTime() < site.now()
    const lease = await finishLease(site, id, end, systemActor, isPast)
    if (lease !== undefined) await finishSession(site, lease.session_id, end, systemActor)
  }
}

interface End {
  readonly code: string
  readonly reason: string
  readonly unlocks?: readonly Unlock[]
}

/** Ends a session once; later calls do nothing. Its host or endpoint stops it when it sees it gone. */
export async function finishSession(site: Site, id: string, end: End, actor: AuditActor): Promise<void> {
  await finish(site, id, () => end, actor)
}

/** @param endOf asked of the session as it is then; undefined: it goes on */
async function finish(
  site: Site,
  id: string,
  endOf: (session: SessionDetail) => End | undefined,
  actor: AuditActor,
): Promise<void> {
  await oneByOne(site, changesOf({ id }), async () => {
    const session = await sessionById(site.store.db, id)
    if (session === undefined || session.state === 'ended') return
    const end = endOf(session)
    if (end === undefined) return
    const { code, reason, unlocks = [] } = end
    await site.audit.record('session-ended', actor, id, {
      code,
      reason,
      person: session.person_id,
      ...(session.host_id === null ? { endpoint: session.endpoint_id } : { host: session.host_id }),
    })
    if (session.endpoint_id !== null) await withdrawLeaseAlone(site, session, { code, reason }, actor)
    const at = new Date(site.now())
    await endSession(site.store.db, id, { code, reason, unlocks: [...unlocks], at: at.toISOString() }, at)
    site.metrics.count('sessions_ended', { code })
    await tellOf(site, session)
  })
}

async function tellOf(site: Site, session: SessionDetail): Promise<void> {
  if (session.host_id !== null) await site.hints.tell({ topic: 'host', id: session.host_id })
  if (session.endpoint_id !== null) await site.hints.tell({ topic: 'endpoint', id: session.endpoint_id })
  await site.hints.tell({ topic: 'person', id: session.person_id })
  await site.hints.tell({ topic: 'ticket', id: session.id })
}

/** Decides one running session again in its own mode, and makes the outcome so. */
async function redecide(site: Site, sessionId: string, cause: DecisionCause): Promise<void> {
  const { db } = site.store
  const session = await sessionById(db, sessionId)
  if (session === undefined || session.state === 'ended') return
  // What was taken from an endpoint does not come back: once trust does, a new launch begins anew.
  if (session.state === 'ending' && (session.end?.code !== 'TRUST_LOST' || session.endpoint_id !== null))
    return
  const [person, webSession, endpoint, rules] = await Promise.all([
    personById(db, session.person_id),
    session.web_session_id === null ? undefined : webSessionById(db, session.web_session_id),
    session.from_endpoint_id === null ? undefined : agentById(db, session.from_endpoint_id),
    readRules(db),
  ])
  // It began while they were deleted.
  if (person === undefined || session.workspace_deleted_at !== null)
    return site.hints.tell({ topic: 'deleted' })
  if (person.disabled) return loseTrust(site, session, { reason: 'This account was disabled' })
  // Nobody is signed in, so nothing is delivered: its host freezes it. It lives on until somebody comes back or its time is up.
  // An endpoint cannot be frozen and trusted to thaw: its key is gone.
  if (webSession === undefined && session.endpoint_id !== null)
    return loseTrust(site, session, { reason: 'Your sign-in has ended', remedy: 'Sign in and launch again.' })
  if (webSession === undefined) return session.connected ? tellOf(site, session) : undefined
  const circumstances = circumstancesOf(session, { person, webSession, endpoint })
  const context = await contextOf(site, rules, circumstances, { isRunning: true })
  const decision = decideInMode(rules, context, session)
  const { outcome } = decision
  // Somebody who was told why has begun anew meanwhile: the old one ends as it was going to.
  if (session.state === 'ending' && outcome !== undefined && (await hasSuccessor(site, session))) return
  if (isSame(session, outcome)) return
  const recorded = await recordDecision(site, {
    person,
    workspaceId: session.workspace_id,
    sessionId: session.id,
    endpointId: endpoint?.id,
    cause,
    context,
    decision,
    actor: systemActor,
  })
  if (outcome !== undefined) return change(site, session, outcome, recorded.id)
  const [refusal] = decision.refused
  const stepDown =
    session.endpoint_id === null ? undefined : await stepDownOf(site, session, rules, context, endpoint)
  return loseTrust(site, session, {
    reason: refusal?.reason ?? 'It is no longer permitted',
    unlocks: refusal?.unlocks ?? [],
    stepDown,
  })
}

async function change(
  site: Site,
  session: SessionDetail,
  outcome: NonNullable<DecisionView['outcome']>,
  decisionId: string,
): Promise<void> {
  await site.audit.record('session-changed', systemActor, session.id, {
    decision: decisionId,
    rights: outcome.rights,
    obligations: { ...outcome.obligations },
  })
  const terms = {
    rights: outcome.rights,
    restrictions: JSON.stringify(outcome.restrictions),
    obligations: JSON.stringify(outcome.obligations),
    ends_at: new Date(session.started_at.getTime() + outcome.obligations.sessionMinutes * 60_000),
    decision_id: decisionId,
  }
  await (session.state === 'ending' ? thawSession : updateSession)(site.store.db, session.id, terms)
  await tellOf(site, session)
}

async function hasSuccessor(
  site: Site,
  { person_id: personId, workspace_id: workspaceId }: SessionDetail,
): Promise<boolean> {
  const live = await liveSessions(site.store.db, { personId, workspaceId })
  return live.some(({ state }) => state !== 'ending')
}

/** The mode in which a launch would now be delivered from the data centre, so that work can go on there. */
async function stepDownOf(
  site: Site,
  { workspace }: SessionDetail,
  rules: Rules,
  context: TrustContext,
  endpoint: AgentRow | undefined,
): Promise<DeliveryMode | undefined> {
  const modes = workspace.modes.filter((mode) => placeOf[mode] !== 'endpoint')
  if (modes.length === 0) return undefined
  const available = await (await readAvailability(site, endpoint))(workspace)
  return decideWorkspace(rules, context, { ...workspace, modes }, available).outcome?.mode
}

interface Loss {
  readonly reason: string
  readonly remedy?: string
  readonly unlocks?: readonly Unlock[]
  readonly stepDown?: DeliveryMode | undefined
}

/**
 * Freezes the session now and lets it end after a farewell that says why, unless trust returns before. What an endpoint holds is
 * withdrawn for good.
 */
async function loseTrust(
  site: Site,
  session: SessionDetail,
  { reason, remedy, unlocks = [], stepDown }: Loss,
): Promise<void> {
  if (session.state === 'ending') return
  const end: SessionEnd = {
    code: 'TRUST_LOST',
    reason,
    ...(remedy === undefined ? {} : { remedy }),
    unlocks: [...unlocks],
    at: new Date(site.now() + farewellMs).toISOString(),
  }
  if (session.endpoint_id !== null) {
    const way = unlocks[0]?.changes.map((change) => change.remedy).join('. ') ?? remedy
    const notice = {
      code: end.code,
      reason,
      ...(way === undefined ? {} : { remedy: way }),
      ...(stepDown === undefined ? {} : { stepDown }),
    }
    await withdrawLeaseOf(site, session, notice, systemActor)
  }
  await site.audit.record('session-changed', systemActor, session.id, {
    rights: [],
    reason,
    frozen: true,
    endsAt: end.at,
  })
  await freezeSession(site.store.db, session.id, end)
  await tellOf(site, session)
}
