import { beforeEach, describe, expect, test } from 'vitest'
import {
  clearFailures,
  countAttempt,
  type Db,
  deleteWebSessionsOf,
  insertWebSession,
  migrate,
  prolongWebSession,
  uncountAttempt,
  updatePerson,
  webSessionById,
} from './index.ts'
import { addPerson, type StoreUnderTest, webSessionOf } from './store-under-test.rig.ts'

/** Who signs in, and for how long. */
export function webSessionsContract(store: StoreUnderTest): void {
  describe('web sessions', () => {
    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
    })

    test('begin only with the password that was checked, and not for a disabled account', async () => {
      const person = await addPerson(db)
      await updatePerson(db, person, { password: 'old' })
      expect(await insertWebSession(db, webSessionOf(person), 'old')).toBe(true)
      await updatePerson(db, person, { password: 'new' })
      expect(await insertWebSession(db, webSessionOf(person), 'old')).toBe(false)
      expect(await insertWebSession(db, webSessionOf(person), null)).toBe(false)
      await updatePerson(db, person, { disabled: true })
      expect(await insertWebSession(db, webSessionOf(person), 'new')).toBe(false)
    })

    test('never outlive a change of the password that they race with', async () => {
      const person = await addPerson(db)
      await updatePerson(db, person, { password: 'old' })
      for (let round = 0; round < 20; round++) {
        const [before, after] = [round === 0 ? 'old' : `password ${round - 1}`, `password ${round}`]
        const change = db.transaction().execute(async (tx) => {
          await updatePerson(tx, person, { password: after })
          await deleteWebSessionsOf(tx, person)
        })
        await Promise.all([
          change,
          ...Array.from({ length: 4 }, () => insertWebSession(other, webSessionOf(person), before)),
        ])
        const left = await db.selectFrom('web_sessions').select('id').execute()
        expect(left).toEqual([])
      }
    })
  })

  describe('idle web sessions', () => {
    let db: Db

    beforeEach(async () => {
      ;({ db } = store)
    })

    test('live on while they are used, never beyond their longest life, and do not come back', async () => {
      await migrate(store.server.address)
      const person = await addPerson(db)
      const row = webSessionOf(person)
      await insertWebSession(db, row, null)
      const expiry = async (): Promise<number> =>
        (await webSessionById(db, row.id))!.expires_at.getTime() - row.created_at.getTime()
      const prolong = (now: number, until: number) =>
        prolongWebSession(db, row.id, {
          now: new Date(row.created_at.getTime() + now),
          until: new Date(row.created_at.getTime() + until),
          longestMs: 200_000,
        })
      await prolong(30_000, 90_000)
      expect(await expiry()).toBe(90_000)
      await prolong(30_000, 50_000)
      expect(await expiry()).toBe(90_000)
      await prolong(90_000, 150_000)
      expect(await expiry()).toBe(90_000)
      await prolong(80_000, 300_000)
      expect(await expiry()).toBe(200_000)
    })
  })

  describe('attempts to sign in', () => {
    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
    })

    test('of parallel attempts to sign in each is judged by all that were let through before', async () => {
      await migrate(store.server.address)
      const keys = ['account', 'source', 'stranger']
      const attempt = (i: number) =>
        countAttempt(
          i % 2 === 0 ? db : other,
          i % 3 === 0 ? keys.toReversed() : keys,
          new Date(),
          (stored) => ({ allowed: keys.every((key) => (stored.get(key)?.failures ?? 99) < 20), stored }),
        )
      const verdicts = await Promise.all(Array.from({ length: 60 }, (_, i) => attempt(i)))
      expect(verdicts.filter(({ allowed }) => allowed)).toHaveLength(20)
      await uncountAttempt(db, ['source', 'unknown'])
      await clearFailures(db, ['account'])
      const { stored } = await attempt(0)
      expect(keys.map((key) => stored.get(key)?.failures)).toEqual([0, 19, 20])
    })
  })
}
