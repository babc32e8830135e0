import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  armTicket,
  countOpenTickets,
  type Db,
  freezeSession,
  insertEnrolmentToken,
  insertTicket,
  isTicketArmed,
  migrate,
  openTickets,
  placeSession,
  redeemTicket,
  useEnrolmentToken,
} from './index.ts'
import { addHost, addPerson, endOf, type StoreUnderTest, sessionOf } from './store-under-test.rig.ts'

/** What may be used once. */
export function ticketsContract(store: StoreUnderTest): void {
  describe('single use', () => {
    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
    })

    test('of many callers at once exactly one uses an enrolment token', async () => {
      const secret_hash = randomBytes(32)
      const expires_at = new Date(Date.now() + 60_000)
      await insertEnrolmentToken(db, {
        secret_hash,
        kind: 'host',
        name: 'h1',
        dns_names: ['h1.example'],
        pool: 'wards',
        expires_at,
      })
      const use = (from: Db) => useEnrolmentToken(from, secret_hash, ['host', 'gateway'], new Date())
      const uses = await Promise.all(Array.from({ length: 20 }, (_, i) => use(i % 2 === 0 ? db : other)))
      expect(uses.filter((token) => token !== undefined)).toEqual([
        { kind: 'host', name: 'h1', dns_names: ['h1.example'], pool: 'wards', owner_id: null },
      ])
    })

    test('an enrolment token of another kind, or after its time, is not used up', async () => {
      const secret_hash = randomBytes(32)
      const expires_at = new Date(Date.now() + 60_000)
      await insertEnrolmentToken(db, {
        secret_hash,
        kind: 'gateway',
        name: 'g1',
        dns_names: [],
        pool: 'default',
        expires_at,
      })
      expect(await useEnrolmentToken(db, secret_hash, ['host', 'admin'], new Date())).toBeUndefined()
      expect(await useEnrolmentToken(db, secret_hash, ['gateway'], expires_at)).toBeUndefined()
      expect(await useEnrolmentToken(db, secret_hash, ['gateway'], new Date())).toMatchObject({
        name: 'g1',
      })
    })

    test('a session has no more tickets than it may have, however many ask at once', async () => {
      const session = sessionOf(await addPerson(db), await addHost(db, 1))
      await placeSession(db, session)
      const now = new Date()
      const expires_at = new Date(now.getTime() + 30_000)
      const stored = await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          insertTicket(
            i % 2 === 0 ? db : other,
            { id: randomBytes(16), session_id: session.id, sealed: randomBytes(80), expires_at },
            { now, most: 16 },
          ),
        ),
      )
      expect(stored.filter(Boolean)).toHaveLength(16)
      expect(await countOpenTickets(db, session.id, now)).toBe(16)
      expect(await countOpenTickets(db, session.id, expires_at)).toBe(0)
    })

    test('a ticket is shown to, armed by and redeemed by its own host only, and redeemed once', async () => {
      const [own, foreign] = [await addHost(db, 1), await addHost(db, 1)]
      const session = sessionOf(await addPerson(db), own)
      await placeSession(db, session)
      const id = randomBytes(16)
      const now = new Date()
      const ticket = {
        id,
        session_id: session.id,
        sealed: randomBytes(80),
        expires_at: new Date(now.getTime() + 30_000),
      }
      expect(await insertTicket(db, ticket, { now, most: 1 })).toBe(true)
      expect(await countOpenTickets(db, session.id, now)).toBe(1)
      expect(await openTickets(db, foreign, now)).toEqual([])
      expect(await openTickets(db, own, now)).toMatchObject([{ id, session_id: session.id }])

      await armTicket(db, id, foreign, now)
      expect(await isTicketArmed(db, id)).toBe(false)
      await armTicket(db, id, own, now)
      expect(await isTicketArmed(db, id)).toBe(true)

      expect(await redeemTicket(db, id, foreign, now)).toBeUndefined()
      const redeemed = await Promise.all(
        Array.from({ length: 10 }, (_, i) => redeemTicket(i % 2 === 0 ? db : other, id, own, now)),
      )
      expect(redeemed.filter((sessionId) => sessionId !== undefined)).toEqual([session.id])
      expect(await openTickets(db, own, now)).toEqual([])
      expect(await countOpenTickets(db, session.id, now)).toBe(0)
    })

    test('a ticket is shown to nobody after its time or once its session is ending', async () => {
      const hostId = await addHost(db, 1)
      const session = sessionOf(await addPerson(db), hostId)
      await placeSession(db, session)
      const expires_at = new Date(Date.now() + 30_000)
      const ticket = { id: randomBytes(16), session_id: session.id, sealed: randomBytes(8), expires_at }
      await insertTicket(db, ticket, { now: new Date(), most: 1 })
      expect(await openTickets(db, hostId, expires_at)).toEqual([])
      await freezeSession(db, session.id, endOf())
      expect(await openTickets(db, hostId, new Date())).toEqual([])
    })
  })
}
