import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DesiredSession } from '#core/agent/messages.ts'
import { endingSoon, type Phase, plan, type SessionFacts, type Step } from './plan.ts'

const now = 1_000_000_000_000
const minuteMs = 60_000
const obligations = {
  clipboardMaxBytes: 1,
  watermark: false,
  sessionMinutes: 60,
  idleMinutes: 10,
  disconnectMinutes: 5,
  leaseMinutes: 15,
  overlay: 'discard' as const,
}

function desired(id: string, change: Partial<DesiredSession> = {}): DesiredSession {
  return {
    id,
    account: 'tc-alice',
    fullName: 'Alice',
    program: { kind: 'desktop' },
    width: 800,
    height: 600,
    limits: { memoryMiB: 1, processes: 1, cpuPercent: 1 },
    rights: [],
    obligations,
    endsAt: new Date(now + 60 * minuteMs).toISOString(),
    notice: { state: 'starting', rights: [], restrictions: [], obligations },
    frozen: false,
    ...change,
  }
}

function noticeOf(state: DesiredSession['notice']['state']): Pick<DesiredSession, 'notice'> {
  return { notice: { state, rights: [], restrictions: [], obligations } }
}

function facts(id: string, phase: Phase, change: Partial<SessionFacts> = {}): SessionFacts {
  return { id, phase, desired: undefined, activeAt: now, aloneSince: now, ...change }
}

test('before the site has spoken nothing happens', () => {
  expect(plan(undefined, [facts('a', 'ready', { activeAt: 0, aloneSince: 0 })], 0, now)).toEqual([])
})

test('what is desired and starting is started; what the site believes to run and does not is lost', () => {
  expect(plan([desired('a')], [], 1, now)).toMatchObject([{ step: 'start', session: { id: 'a' } }])
  for (const state of ['ready', 'ending'] as const) {
    expect(plan([desired('a', noticeOf(state))], [], 1, now)).toMatchObject([
      { step: 'refuse', ending: { code: 'SESSION_LOST' } },
    ])
  }
})

test('what runs and is not desired is ended with the reason that the site gave last', () => {
  expect(plan([], [facts('a', 'ready')], 1, now)).toMatchObject([
    { step: 'end', ending: { code: 'SESSION_ENDED' } },
  ])
  const end = {
    code: 'TRUST_LOST',
    reason: 'Encryption is off',
    unlocks: [],
    at: new Date(now).toISOString(),
  }
  const last = desired('a', { notice: { ...noticeOf('ending').notice, end } })
  expect(plan([], [facts('a', 'ready', { desired: last })], 1, now)).toMatchObject([
    { step: 'end', ending: { code: 'TRUST_LOST', reason: 'Encryption is off' } },
  ])
})

test('an ended session is kept until the site drops it, then forgotten', () => {
  const session = desired('a')
  expect(plan([session], [facts('a', 'ended', { desired: session })], 1, now)).toEqual([])
  expect(plan([], [facts('a', 'ended')], 1, now)).toEqual([{ step: 'forget', id: 'a' }])
})

test('a change is applied once', () => {
  const session = desired('a')
  expect(plan([session], [facts('a', 'ready')], 1, now)).toEqual([{ step: 'apply', session }])
  expect(plan([session], [facts('a', 'ready', { desired: session })], 1, now)).toEqual([])
})

test.each([
  ['SESSION_OVER', 'starting', {}, { endsAt: new Date(now).toISOString() }],
  ['SESSION_IDLE', 'ready', { activeAt: now - 10 * minuteMs, aloneSince: undefined }, {}],
  ['SESSION_DISCONNECTED', 'ready', { aloneSince: now - 5 * minuteMs }, {}],
] as const)('a limit ends a session: %s', (code, phase, known, change) => {
  const session = desired('a', change)
  const running = facts('a', phase, { desired: session, ...known })
  expect(plan([session], [running], 1, now)).toMatchObject([{ step: 'end', ending: { code } }])
  expect(plan([session], [running], 1, now - 1)).toEqual([])
})

test('a frozen session ends at its hour, whether or not the site is there', () => {
  const end = { code: 'TRUST_LOST', reason: 'gone', unlocks: [], at: new Date(now).toISOString() }
  const session = desired('a', { frozen: true, notice: { ...noticeOf('ending').notice, end } })
  const running = facts('a', 'ready', { desired: session })
  expect(plan([session], [running], 1, now)).toMatchObject([{ step: 'end', ending: { code: 'TRUST_LOST' } }])
  expect(plan([session], [running], 1, now - 1)).toEqual([])
})

test.each([
  ['SESSION_IDLE', 9 * minuteMs, {}],
  ['SESSION_IDLE', 30_000, { obligations: { ...obligations, idleMinutes: 1 } }],
  ['SESSION_OVER', 0, { endsAt: new Date(now + 5 * minuteMs).toISOString() }],
] as const)('a person is told before a limit ends their session: %s', (code, quietMs, change) => {
  const session = desired('a', change)
  const told = endingSoon(session, now - quietMs, now)
  expect(told?.code).toBe(code)
  expect(endingSoon(session, now - quietMs, now - 1)).toBeUndefined()
  const running = facts('a', 'ready', { desired: session, activeAt: now - quietMs, aloneSince: undefined })
  expect(plan([session], [running], 1, Date.parse(told?.at ?? ''))).toMatchObject([
    { step: 'end', ending: { code } },
  ])
})

const ids = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
const wanted = fc.array(
  fc.record({ id: ids, state: fc.constantFrom('starting' as const, 'ready' as const) }),
  { maxLength: 10 },
)
const phases = fc.constantFrom<Phase>('starting', 'ready', 'ending', 'ended')
const present = fc.uniqueArray(fc.record({ id: ids, phase: phases }), { selector: ({ id }) => id })

test('every session gets at most one step, no more than the capacity run, and what is done is done', () => {
  fc.assert(
    fc.property(wanted, present, fc.nat(8), (wanted, present, capacity) => {
      const sessions = wanted.map(({ id, state }) => desired(id, noticeOf(state)))
      const running = present.map(({ id, phase }) => facts(id, phase))
      const steps = plan(sessions, running, capacity, now)
      const touched = steps.map(idOf)
      expect(new Set(touched).size).toBe(touched.length)

      const after = carriedOut(running, steps)
      const before = running.filter(isLive).length
      expect(after.filter(isLive).length).toBeLessThanOrEqual(Math.max(before, capacity))
      const known = new Set(sessions.map(({ id }) => id))
      for (const session of after) expect(known.has(session.id) || session.phase === 'ending').toBe(true)
      expect(plan(sessions, after, capacity, now)).toEqual([])
    }),
  )
})

function idOf(step: Step): string {
  return 'id' in step ? step.id : step.session.id
}

function isLive({ phase }: SessionFacts): boolean {
  return phase === 'starting' || phase === 'ready'
}

function carriedOut(running: readonly SessionFacts[], steps: readonly Step[]): readonly SessionFacts[] {
  const after = new Map(running.map((one) => [one.id, one]))
  for (const step of steps) {
    const known = after.get(idOf(step))
    if (step.step === 'start')
      after.set(step.session.id, facts(step.session.id, 'starting', { desired: step.session }))
    if (step.step === 'refuse') after.set(step.session.id, facts(step.session.id, 'ended'))
    if (step.step === 'apply' && known) after.set(known.id, { ...known, desired: step.session })
    if (step.step === 'end' && known) after.set(known.id, { ...known, phase: 'ending' })
    if (step.step === 'forget') after.delete(step.id)
  }
  return [...after.values()]
}
