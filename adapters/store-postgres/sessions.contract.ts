import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  type Db,
  endSession,
  freezeSession,
  insertDecision,
  listDecisions,
  liveSessions,
  migrate,
  type NewSession,
  placeSession,
  readySession,
  requestRedecisions,
  setDraining,
  thawSession,
  updateSession,
  workRedecisions,
} from './index.ts'
import {
  addHost,
  addPerson,
  endOf,
  idsOf,
  placedOn,
  type StoreUnderTest,
  sessionOf,
  workAll,
} from './store-under-test.rig.ts'

/** Places on hosts, and what is decided of sessions. */
export function sessionsContract(store: StoreUnderTest): void {
  describe('places on hosts', () => {
    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
    })

    test('parallel claims never exceed the capacity, and no place leaks', async () => {
      const hostId = await addHost(db, 7)
      const people = await Promise.all(Array.from({ length: 50 }, () => addPerson(db)))
      const sessions = people.map((personId) => sessionOf(personId, hostId))
      const answers = await Promise.all(
        sessions.map((session, i) => placeSession(i % 2 === 0 ? db : other, session)),
      )
      expect(answers.filter((answer) => answer === 'placed')).toHaveLength(7)
      expect(answers.filter((answer) => answer === 'full')).toHaveLength(43)
      expect(await placedOn(db, hostId)).toEqual({ placed: 7, live: 7 })
      await Promise.all(sessions.map(({ id }) => endSession(other, id, endOf(), new Date())))
      expect(await placedOn(db, hostId)).toEqual({ placed: 0, live: 0 })
    })

    test('a person has one live session of a workspace, however many launches race', async () => {
      const [one, two] = [await addHost(db, 20), await addHost(db, 20)]
      const personId = await addPerson(db)
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          placeSession(i % 2 === 0 ? db : other, sessionOf(personId, i % 3 === 0 ? one : two)),
        ),
      )
      expect(answers.filter((answer) => answer === 'placed')).toHaveLength(1)
      expect(answers.filter((answer) => answer === 'exists')).toHaveLength(19)
      const [first, second] = [await placedOn(db, one), await placedOn(db, two)]
      expect(first.placed + second.placed).toBe(1)
      expect(first.live + second.live).toBe(1)
      expect(await placeSession(db, sessionOf(personId, one, 'paint'))).toBe('placed')
    })

    test('a full host still says that the person is there already', async () => {
      const hostId = await addHost(db, 1)
      const personId = await addPerson(db)
      expect(await placeSession(db, sessionOf(personId, hostId))).toBe('placed')
      expect(await placeSession(db, sessionOf(personId, hostId))).toBe('exists')
      expect(await placeSession(db, sessionOf(await addPerson(db), hostId))).toBe('full')
      expect(await placedOn(db, hostId)).toEqual({ placed: 1, live: 1 })
    })

    test('a draining or revoked host takes nobody', async () => {
      const [draining, revoked] = [await addHost(db, 5), await addHost(db, 5)]
      await setDraining(db, draining, true)
      await db.updateTable('agents').set({ revoked_at: new Date() }).where('id', '=', revoked).execute()
      const personId = await addPerson(db)
      expect(await placeSession(db, sessionOf(personId, draining))).toBe('full')
      expect(await placeSession(db, sessionOf(personId, revoked))).toBe('full')
      expect(await liveSessions(db)).toEqual([])
    })

    test('a session ends once: one caller gets it, its place is free once', async () => {
      const hostId = await addHost(db, 3)
      const session = sessionOf(await addPerson(db), hostId)
      await placeSession(db, session)
      await placeSession(db, sessionOf(await addPerson(db), hostId))
      const ended = await Promise.all(
        Array.from({ length: 12 }, (_, i) =>
          endSession(i % 2 === 0 ? db : other, session.id, endOf(`caller ${i}`), new Date()),
        ),
      )
      expect(ended.filter((row) => row !== undefined)).toHaveLength(1)
      expect(await placedOn(db, hostId)).toEqual({ placed: 1, live: 1 })
      expect(await updateSession(db, session.id, { connected: true })).toBe(false)
    })

    test('nobody puts a session back into a state that another has moved it on from', async () => {
      const session = sessionOf(await addPerson(db), await addHost(db, 1))
      await placeSession(db, session)
      const state = async () => (await sessionRow(session.id)).state
      expect(await thawSession(db, session.id, {})).toBe(false)
      await readySession(db, session.id)
      expect(await state()).toBe('ready')
      expect(await freezeSession(db, session.id, endOf('trust was lost'))).toBe(true)
      expect(await freezeSession(db, session.id, endOf('something else'))).toBe(false)
      await readySession(db, session.id)
      expect(await sessionRow(session.id)).toMatchObject({
        state: 'ending',
        end: { reason: 'trust was lost' },
      })
      expect(await thawSession(db, session.id, { rights: ['input'] })).toBe(true)
      expect(await sessionRow(session.id)).toMatchObject({ state: 'ready', end: null, rights: ['input'] })
      await endSession(db, session.id, endOf(), new Date())
      await readySession(db, session.id)
      expect(await thawSession(db, session.id, {})).toBe(false)
      expect(await freezeSession(db, session.id, endOf())).toBe(false)
      expect(await state()).toBe('ended')

      async function sessionRow(id: string) {
        return db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
      }
    })

    test('what a session said when it began to end is what it ends with', async () => {
      const session = sessionOf(await addPerson(db), await addHost(db, 1))
      await placeSession(db, session)
      await freezeSession(db, session.id, endOf('trust was lost'))
      const row = await endSession(db, session.id, endOf('time was up'), new Date())
      expect(row?.end?.reason).toBe('trust was lost')
    })

    test('ending and launching the same workspace at the same moment disturb each other in no order', async () => {
      const hostId = await addHost(db, 3)
      const personId = await addPerson(db)
      let running = sessionOf(personId, hostId)
      await placeSession(db, running)
      for (let round = 0; round < 30; round++) {
        const next = sessionOf(personId, hostId)
        const [ended, answer] = await Promise.all([
          endSession(db, running.id, endOf(), new Date()),
          placeSession(other, next),
        ])
        expect(ended?.id).toBe(running.id)
        if (answer === 'exists') expect(await placeSession(db, next)).toBe('placed')
        running = next
      }
      expect(await placedOn(db, hostId)).toEqual({ placed: 1, live: 1 })
    })
  })

  describe('re-decisions', () => {
    let db: Db
    let other: Db
    let sessions: NewSession[]

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
      const hostId = await addHost(db, 30)
      sessions = []
      for (let i = 0; i < 20; i++) {
        const session = sessionOf(await addPerson(db), hostId)
        expect(await placeSession(db, session)).toBe('placed')
        sessions.push(session)
      }
    })

    test('two workers share them, each is worked once', async () => {
      await requestRedecisions(db, 'policy', new Date())
      const worked: string[] = []
      const work = async (id: string): Promise<void> => {
        worked.push(id)
        await sleep(1)
      }
      const counts = await Promise.all([workRedecisions(db, work), workRedecisions(other, work)])
      expect(counts[0] + counts[1]).toBe(20)
      expect(worked.toSorted()).toEqual(idsOf(sessions))
      expect(await workRedecisions(db, work)).toBe(0)
    })

    test('only sessions that run and that the filter names are decided again', async () => {
      const [first, second] = sessions
      await endSession(db, first!.id, endOf(), new Date())
      await requestRedecisions(db, 'group', new Date(), { personId: first!.person_id })
      expect(await workAll(db)).toEqual([])
      await requestRedecisions(db, 'group', new Date(), { personId: second!.person_id })
      expect(await workAll(db)).toEqual([{ id: second!.id, cause: 'group' }])
      const [, , third] = sessions
      await requestRedecisions(db, 'sweep', new Date(), { sessionId: third!.id })
      const again: string[] = []
      await workRedecisions(db, async (id) => void again.push(id))
      expect(again).toEqual([third!.id])
    })

    test('what somebody asked for comes before a sweep, which does not put it off', async () => {
      const { id, person_id } = sessions[7]!
      await requestRedecisions(db, 'sweep', new Date())
      await requestRedecisions(db, 'evidence', new Date(), { personId: person_id })
      await requestRedecisions(db, 'sweep', new Date())
      const [first, ...others] = await workAll(db)
      expect(first).toEqual({ id, cause: 'evidence' })
      expect(others).toHaveLength(19)
    })

    test('what needs no work is asked once for all, and done without any', async () => {
      await requestRedecisions(db, 'sweep', new Date())
      const [busy, ...others] = sessions.map(({ id }) => id)
      const asked: (readonly string[])[] = []
      const worked: string[] = []
      const count = await workRedecisions(
        db,
        async (id) => void worked.push(id),
        async (ids) => {
          asked.push(ids)
          return new Set(others)
        },
      )
      expect(count).toBe(20)
      expect(asked.map((ids) => ids.toSorted())).toEqual([idsOf(sessions)])
      expect(worked).toEqual([busy])
      expect(await workAll(db)).toEqual([])
    })

    test('one that fails is left and the rest are done', async () => {
      await requestRedecisions(db, 'policy', new Date())
      const bad = sessions[5]!.id
      const failing = workRedecisions(db, async (id) => {
        if (id === bad) throw new Error('no answer from the policy')
      })
      await expect(failing).rejects.toThrow('no answer from the policy')
      expect(await workAll(other)).toEqual([{ id: bad, cause: 'policy' }])
    })

    test('a request that comes while its session is being worked is worked again', async () => {
      const { id, person_id } = sessions[0]!
      await requestRedecisions(db, 'policy', new Date(), { personId: person_id })
      const worked: string[] = []
      let later: Promise<void> | undefined
      await workRedecisions(db, async (_, cause) => {
        worked.push(cause)
        later = requestRedecisions(other, 'group', new Date(), { personId: person_id })
        await sleep(50)
      })
      await later
      expect(worked).toEqual(['policy'])
      expect(await workAll(db)).toEqual([{ id, cause: 'group' }])
    })

    test('requests for everybody from two nodes do not block each other for good', async () => {
      for (let round = 0; round < 10; round++) {
        await Promise.all([
          requestRedecisions(db, 'policy', new Date()),
          requestRedecisions(other, 'zone', new Date()),
          ...sessions
            .toReversed()
            .map(({ person_id }) => requestRedecisions(db, 'group', new Date(), { personId: person_id })),
        ])
      }
      expect((await workAll(db)).map(({ id }) => id).toSorted()).toEqual(idsOf(sessions))
    })
  })

  describe('decisions', () => {
    let db: Db

    beforeEach(async () => {
      ;({ db } = store)
    })

    test('decisions are listed page after page, those of one moment, too', async () => {
      await migrate(store.server.address)
      const person_id = await addPerson(db)
      const words = {
        workspace_id: 'desk',
        session_id: null,
        cause: 'launch',
        zone: '',
        decision: '{}',
      } as const
      const at = new Date()
      const ids = Array.from({ length: 7 }, () => randomUUID() as string)
      for (const [i, id] of ids.entries())
        await insertDecision(db, { ...words, id, at, person_id, audit_index: String(i) })
      const seen: string[] = []
      for (let page; page === undefined || page.length > 0; seen.push(...page))
        page = (await listDecisions(db, { limit: 2, before: seen.at(-1) })).map(({ id }) => id)
      expect(seen).toHaveLength(7)
      expect(seen.toSorted()).toEqual(ids.toSorted())
    })
  })
}
