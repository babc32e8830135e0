import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  type AgentRow,
  agentsByIds,
  browserEndpoints,
  isAway,
  type PersonRow,
  peopleByIds,
  type SessionDetail,
  sessionsByIds,
  type WebSessionRow,
  webSessionsByIds,
} from '#adapters/store-postgres/index.ts'
import type { DecisionView, Restriction } from '#core/api/words.ts'
import type { TrustContext } from '#core/trust/index.ts'
import { badWayIn } from '../endpoints/endpoint-beside.ts'
import { isBraking } from '../evidence/brake.ts'
import { readEvidenceOfAll } from '../evidence/evidence.ts'
import type { Site } from '../site.ts'
import { type Circumstances, contextWith, decideWorkspace, isManaged } from './deciding.ts'
import { type Rules, readRules } from './rules.ts'

/** Whether a running session would be decided as it is. */

/** Who runs a session, from where. */
interface Holder {
  readonly person: PersonRow
  readonly webSession: WebSessionRow
  /** It was opened from it. */
  readonly endpoint: AgentRow | undefined
}

export function circumstancesOf(
  { evidence }: SessionDetail,
  { person, webSession, endpoint }: Holder,
): Circumstances {
  const { id, address, created_at } = webSession
  return { person, signedInAt: created_at.getTime(), address, endpoint, webSessionId: id, evidence }
}

/** Decides a running session in its own mode. */
export function decideInMode(
  rules: Rules,
  context: TrustContext,
  { workspace, mode }: SessionDetail,
): DecisionView {
  return decideWorkspace(rules, context, { ...workspace, modes: [mode] }, () => undefined)
}

interface Terms {
  readonly rights: readonly string[]
  readonly restrictions: readonly Restriction[]
  readonly obligations: object
}

/** True when the viewer of a session would notice nothing of the outcome. */
export function isSame(session: SessionDetail, outcome: DecisionView['outcome']): boolean {
  if (outcome === undefined || session.state === 'ending') return false
  return termsOf(session) === termsOf(outcome)
}

function termsOf({ rights, restrictions, obligations }: Terms): string {
  return JSON.stringify([
    rights.toSorted(),
    restrictions.map(({ right, reason }) => `${right} ${reason}`).toSorted(),
    Object.entries(obligations).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  ])
}

/**
 * Finds among sessions those that are decided as they are: most of them, in a sweep. What they are decided by is read for all at once, and so
 * at one time; whatever changes after it asks for another decision. Nothing is changed here: of the others each is decided by itself.
 */
export async function findUnchanged(site: Site, sessionIds: readonly string[]): Promise<ReadonlySet<string>> {
  // To ask for all at once takes as many queries as one that is decided by itself.
  if (sessionIds.length < 3) return new Set()
  try {
    return await decideTogether(site, sessionIds)
  } catch (error) {
    // Each is decided by itself then: what stands in the way of one is not in the way of others.
    if (!isAway(error)) site.log.error({ err: error }, 'sessions could not be decided together')
    return new Set()
  }
}

async function decideTogether(site: Site, sessionIds: readonly string[]): Promise<ReadonlySet<string>> {
  const { db } = site.store
  const sessions = await sessionsByIds(db, sessionIds)
  const idsIn = (of: (session: SessionDetail) => string | null): string[] => [
    ...new Set(sessions.map(of).filter((id) => id !== null)),
  ]
  const webSessionIds = idsIn(({ web_session_id }) => web_session_id)
  const [rules, asBefore, people, webSessions, met] = await Promise.all([
    readRules(db),
    isBraking(site),
    peopleByIds(
      db,
      idsIn(({ person_id }) => person_id),
    ).then(byId),
    webSessionsByIds(db, webSessionIds).then(byId),
    browserEndpoints(db, webSessionIds),
  ])
  const endpointIds = [...new Set([...idsIn(({ from_endpoint_id }) => from_endpoint_id), ...met.values()])]
  const [endpoints, known, seen] = await Promise.all([
    agentsByIds(db, endpointIds).then(byId),
    readEvidenceOfAll(site, endpointIds, { asBefore, isRunning: true }),
    readEvidenceOfAll(site, [...met.values()], { asBefore }),
  ])
  const unchanged = new Set<string>()
  for (const session of sessions) {
    const person = people.get(session.person_id)
    const webSession = webSessions.get(session.web_session_id ?? '')
    if (person === undefined || person.disabled || webSession === undefined) continue
    if (session.workspace_deleted_at !== null) continue
    const endpoint = endpoints.get(session.from_endpoint_id ?? '')
    const beside = endpoint === undefined ? endpoints.get(met.get(webSession.id) ?? '') : undefined
    const ofBeside = isManaged(beside) ? seen.get(beside.id) : undefined
    const context = contextWith(site, rules, circumstancesOf(session, { person, webSession, endpoint }), {
      known: isManaged(endpoint) ? known.get(endpoint.id) : undefined,
      beside: ofBeside === undefined ? [] : badWayIn(ofBeside),
    })
    if (isSame(session, decideInMode(rules, context, session).outcome)) unchanged.add(session.id)
    await nextTurn()
  }
  return unchanged
}

function byId<Row extends { readonly id: string }>(rows: readonly Row[]): ReadonlyMap<string, Row> {
  return new Map(rows.map((row) => [row.id, row]))
}
