import type { DesiredSession } from '#core/agent/messages.ts'
import type { SessionNotice } from '#core/api/person.ts'

/** Where a session of this host is; `ended` ones are kept until the site has seen that they ended. */
export type Phase = 'starting' | 'ready' | 'ending' | 'ended'

/** Why a session is over, as the site and the person are told. */
export interface Ending {
  readonly code: string
  readonly reason: string
}

/** What the plan must know of a session that this host has. Times are Unix times in ms. */
export interface SessionFacts {
  readonly id: string
  readonly phase: Phase
  /** What the site said last; an adopted session has nothing until the site speaks. */
  readonly desired: DesiredSession | undefined
  /** Last key or pointer event, or when the session became ready. */
  readonly activeAt: number
  /** When the last viewer went, or the session became ready; undefined while one is connected. */
  readonly aloneSince: number | undefined
}

export type Step =
  | { readonly step: 'start'; readonly session: DesiredSession }
  /** Reports a session as ended that does not run here. */
  | { readonly step: 'refuse'; readonly session: DesiredSession; readonly ending: Ending }
  | { readonly step: 'apply'; readonly session: DesiredSession }
  | { readonly step: 'end'; readonly id: string; readonly ending: Ending }
  | { readonly step: 'forget'; readonly id: string }

const minuteMs = 60_000

/**
 * What to do so that what runs becomes what is desired. Pure, and done when it gives no steps.
 *
 * INVARIANT: as long as the site has not spoken to this process, no session ends.
 *
 * @param desired the last whole word of the site; undefined before the first
 * @param capacity sessions that may start or run at once; what ends does not count
 * @param now Unix time, ms
 */
export function plan(
  desired: readonly DesiredSession[] | undefined,
  running: readonly SessionFacts[],
  capacity: number,
  now: number,
): readonly Step[] {
  if (desired === undefined) return []
  const wanted = new Map(desired.map((session) => [session.id, session]))
  const present = new Set(running.map(({ id }) => id))
  const kept = running.flatMap((facts) => keep(facts, wanted.get(facts.id), now))
  const gone = kept.filter(({ step }) => step === 'end').length
  let free = capacity - running.filter(isLive).length + gone
  const added = [...wanted.values()].filter(({ id }) => !present.has(id))
  return [...kept, ...added.map((session) => add(session, free-- > 0))]
}

/** How long before its end a person is told: to save their work, or to show that they are there. */
const saveMs = 5 * minuteMs
const stirMs = minuteMs

/** The limit that a session which is used reaches soon, as its person is told. `now`: Unix time, ms. */
export function endingSoon(session: DesiredSession, activeAt: number, now: number): SessionNotice['end'] {
  const overAt = Date.parse(session.endsAt)
  const idleMs = session.obligations.idleMinutes * minuteMs
  const idleAt = activeAt + idleMs
  if (idleAt < overAt && idleAt - Math.min(stirMs, idleMs / 2) <= now) {
    return {
      code: 'SESSION_IDLE',
      reason: 'Nobody uses it',
      remedy: 'Press a key or move the pointer, and it goes on',
      unlocks: [],
      at: new Date(idleAt).toISOString(),
    }
  }
  if (overAt - saveMs > now) return undefined
  const remedy = 'Save your work; a new session can be opened then'
  return { code: 'SESSION_OVER', reason: 'Its time is up', remedy, unlocks: [], at: session.endsAt }
}

/** The limits that a host keeps by itself, whether or not the site is there. */
function limitReached(session: DesiredSession, facts: SessionFacts, now: number): Ending | undefined {
  const { notice, obligations } = session
  if (session.frozen && notice.end !== undefined && Date.parse(notice.end.at) <= now) {
    return { code: notice.end.code, reason: notice.end.reason }
  }
  if (Date.parse(session.endsAt) <= now) return { code: 'SESSION_OVER', reason: 'Its time was up' }
  if (facts.phase !== 'ready') return undefined
  if (facts.activeAt + obligations.idleMinutes * minuteMs <= now) {
    return { code: 'SESSION_IDLE', reason: `Nobody used it for ${minutes(obligations.idleMinutes)}` }
  }
  if (facts.aloneSince !== undefined && facts.aloneSince + obligations.disconnectMinutes * minuteMs <= now) {
    return {
      code: 'SESSION_DISCONNECTED',
      reason: `Nobody was connected for ${minutes(obligations.disconnectMinutes)}`,
    }
  }
  return undefined
}

function keep(facts: SessionFacts, wanted: DesiredSession | undefined, now: number): readonly Step[] {
  if (facts.phase === 'ended') return wanted === undefined ? [{ step: 'forget', id: facts.id }] : []
  if (!isLive(facts)) return []
  if (wanted === undefined) {
    const limit = facts.desired && limitReached(facts.desired, facts, now)
    return [{ step: 'end', id: facts.id, ending: limit ?? told(facts.desired) }]
  }
  const limit = limitReached(wanted, facts, now)
  if (limit !== undefined) return [{ step: 'end', id: facts.id, ending: limit }]
  return facts.desired === wanted ? [] : [{ step: 'apply', session: wanted }]
}

/** The reason that the site gave before it dropped the session, if it gave one. */
function told(last: DesiredSession | undefined): Ending {
  const end = last?.notice.end
  return end === undefined
    ? { code: 'SESSION_ENDED', reason: 'It was ended' }
    : { code: end.code, reason: end.reason }
}

function add(session: DesiredSession, fits: boolean): Step {
  if (session.notice.state !== 'starting') {
    return { step: 'refuse', session, ending: { code: 'SESSION_LOST', reason: 'The host was restarted' } }
  }
  if (fits) return { step: 'start', session }
  return { step: 'refuse', session, ending: { code: 'HOST_FULL', reason: 'This host runs all it can' } }
}

function isLive({ phase }: SessionFacts): boolean {
  return phase === 'starting' || phase === 'ready'
}

function minutes(count: number): string {
  return count === 1 ? 'a minute' : `${count} minutes`
}
