import { setTimeout as sleep } from 'node:timers/promises'
import {
  type DecisionCause,
  dueSessions,
  endSession,
  isAway,
  liveSessions,
  personById,
  requestRedecisions,
  type SessionDetail,
  type SessionEnd,
  sessionById,
  updateSession,
  webSessionById,
  workRedecisions,
} from '#adapters/store-postgres/index.ts'
import type { Restriction, Unlock } from '#core/api/words.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { contextOf, decideWorkspace, recordDecision } from './deciding.ts'
import { soonerOf } from './hints.ts'
import { readRules } from './rules.ts'
import type { Site } from './site.ts'

/** What happens to sessions while they run: decided again, changed in place, ended. */

/** How long a person sees why before a session that is no longer permitted ends. Nothing passes meanwhile. */
const farewellMs = 20_000

const sweepMs = 60_000

const systemActor: AuditActor = { type: 'system', id: 'trust' }

/** Asks for the live sessions that `who` names to be decided again; any node does it, within moments. */
export async function decideAgain(
  site: Site,
  cause: DecisionCause,
  who: { readonly personId?: string; readonly webSessionId?: string; readonly sessionId?: string } = {},
): Promise<void> {
  await requestRedecisions(site.store.db, cause, new Date(site.now()), who)
  await site.hints.tell({ topic: 'redecide' })
}

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
    try {
      while ((await workRedecisions(site.store.db, (id, cause) => redecide(site, id, cause))) > 0);
      await endDueSessions(site)
      // Claims grow old without anybody telling: look at everything once a minute.
      if (site.now() - lastSweep > sweepMs) {
        lastSweep = site.now()
        await decideAgain(site, 'sweep')
      }
    } catch (error) {
      if (!isAway(error)) site.log.error({ err: error }, 'sessions could not be looked after')
      await sleep(500)
    }
    await soonerOf(woken.promise, 1_000)
  }
  off()
}

async function endDueSessions(site: Site): Promise<void> {
  for (const due of await dueSessions(site.store.db, new Date(site.now()))) {
    const end = due.end ?? { code: 'SESSION_OVER', reason: 'Its time was up', unlocks: [] }
    await finishSession(site, due.id, end, systemActor)
  }
}

/** Ends a session once; later calls do nothing. Its host stops it when it sees it gone. */
export async function finishSession(
  site: Site,
  id: string,
  end: { readonly code: string; readonly reason: string; readonly unlocks?: readonly Unlock[] },
  actor: AuditActor,
): Promise<void> {
  const session = await sessionById(site.store.db, id)
  if (session === undefined || session.state === 'ended') return
  await site.audit.record('session-ended', actor, id, {
    code: end.code,
    reason: end.reason,
    person: session.person_id,
    host: session.host_id,
  })
  const at = new Date(site.now())
  await endSession(
    site.store.db,
    id,
    { code: end.code, reason: end.reason, unlocks: [...(end.unlocks ?? [])], at: at.toISOString() },
    at,
  )
  site.metrics.count('sessions_ended', { code: end.code })
  await tellOf(site, session)
}

async function tellOf(site: Site, session: SessionDetail): Promise<void> {
  await site.hints.tell({ topic: 'host', id: session.host_id })
  await site.hints.tell({ topic: 'person', id: session.person_id })
  await site.hints.tell({ topic: 'ticket', id: session.id })
}

/** Decides one running session again in its own mode, and makes the outcome so. */
async function redecide(site: Site, sessionId: string, cause: DecisionCause): Promise<void> {
  const { db } = site.store
  const session = await sessionById(db, sessionId)
  if (session === undefined || session.state === 'ended') return
  if (session.state === 'ending' && session.end?.code !== 'TRUST_LOST') return
  const [person, webSession, rules] = await Promise.all([
    personById(db, session.person_id),
    session.web_session_id === null ? undefined : webSessionById(db, session.web_session_id),
    readRules(db),
  ])
  if (person === undefined) return
  if (person.disabled) return loseTrust(site, session, 'This account was disabled', [])
  // Nobody is signed in, so nothing is delivered: its host freezes it. It lives on until somebody comes back or its time is up.
  if (webSession === undefined) return session.connected ? tellOf(site, session) : undefined
  const context = contextOf(site, rules, {
    person,
    signedInAt: webSession.created_at.getTime(),
    address: webSession.address,
    evidence: session.evidence,
  })
  const decision = decideWorkspace(
    rules,
    context,
    { ...session.workspace, modes: [session.mode] },
    () => undefined,
  )
  const { outcome } = decision
  // Somebody who was told why has begun anew meanwhile: the old one ends as it was going to.
  if (session.state === 'ending' && outcome !== undefined && (await hasSuccessor(site, session))) return
  const same = outcome !== undefined && session.state !== 'ending' && isSame(session, outcome)
  if (same) return
  const recorded = await recordDecision(site, {
    person,
    workspaceId: session.workspace_id,
    sessionId: session.id,
    cause,
    context,
    decision,
    actor: systemActor,
  })
  if (outcome === undefined) {
    const [refusal] = decision.refused
    return loseTrust(site, session, refusal?.reason ?? 'It is no longer permitted', refusal?.unlocks ?? [])
  }
  await site.audit.record('session-changed', systemActor, session.id, {
    decision: recorded.id,
    rights: outcome.rights,
    obligations: { ...outcome.obligations },
  })
  await updateSession(db, session.id, {
    state: session.state === 'ending' ? 'ready' : session.state,
    end: null,
    rights: outcome.rights,
    restrictions: JSON.stringify(outcome.restrictions),
    obligations: JSON.stringify(outcome.obligations),
    ends_at: new Date(session.started_at.getTime() + outcome.obligations.sessionMinutes * 60_000),
    decision_id: recorded.id,
  })
  await tellOf(site, session)
}

async function hasSuccessor(
  site: Site,
  { person_id: personId, workspace_id: workspaceId }: SessionDetail,
): Promise<boolean> {
  const live = await liveSessions(site.store.db, { personId, workspaceId })
  return live.some(({ state }) => state !== 'ending')
}

interface Terms {
  readonly rights: readonly string[]
  readonly restrictions: readonly Restriction[]
  readonly obligations: object
}

/** True when the viewer would notice nothing. */
function isSame(a: Terms, b: Terms): boolean {
  const terms = ({ rights, restrictions, obligations }: Terms): string =>
    JSON.stringify([
      rights.toSorted(),
      restrictions.map(({ right, reason }) => `${right} ${reason}`).toSorted(),
      Object.entries(obligations).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ])
  return terms(a) === terms(b)
}

/** Freezes the session now and lets it end after a farewell that says why, unless trust returns before. */
async function loseTrust(
  site: Site,
  session: SessionDetail,
  reason: string,
  unlocks: readonly Unlock[],
): Promise<void> {
  if (session.state === 'ending') return
  const end: SessionEnd = {
    code: 'TRUST_LOST',
    reason,
    unlocks: [...unlocks],
    at: new Date(site.now() + farewellMs).toISOString(),
  }
  await site.audit.record('session-changed', systemActor, session.id, {
    rights: [],
    reason,
    frozen: true,
    endsAt: end.at,
  })
  await updateSession(site.store.db, session.id, { state: 'ending', end: JSON.stringify(end) })
  await tellOf(site, session)
}
