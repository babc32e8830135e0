import { beforeEach, describe, expect, test } from 'vitest'
import {
  type Db,
  endLease,
  endSession,
  expiredLeases,
  holdLease,
  insertWebSession,
  leaseById,
  leaseOfSession,
  liveSessions,
  migrate,
  noteBrowserEndpoint,
  noteKeyReleased,
  openLeases,
  placeOnEndpoint,
  placeSession,
  renewLease,
  requestRedecisions,
  sessionById,
  withdrawLease,
  writeWorkspace,
} from './index.ts'
import {
  addDisk,
  addEndpoint,
  addHost,
  addPerson,
  diskOf,
  endOf,
  inMinutes,
  type StoreUnderTest,
  sessionOf,
  webSessionOf,
  workAll,
  workspace,
} from './store-under-test.rig.ts'

/** Leases of endpoints. */
export function leasesContract(store: StoreUnderTest): void {
  describe('leases', () => {
    let db: Db
    let other: Db
    let endpointId: string
    let personId: string

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
      endpointId = await addEndpoint(db)
      personId = await addPerson(db)
      await writeWorkspace(db, workspace, 0)
    })

    test('a session runs in one place: on a host or on an endpoint', async () => {
      const { session, lease } = diskOf(personId, endpointId)
      const hostId = await addHost(db, 1)
      for (const wrong of [{ host_id: hostId }, { endpoint_id: null }])
        await expect(
          db
            .insertInto('sessions')
            .values({ ...session, ...wrong })
            .execute(),
        ).rejects.toThrow(/runs_in_one_place/)
      expect(await placeOnEndpoint(db, session, lease)).toBe('placed')
      expect(await sessionById(db, session.id)).toMatchObject({
        host_id: null,
        endpoint_id: endpointId,
        machine_name: endpointId,
      })
      expect((await liveSessions(db, { endpointId })).map(({ id }) => id)).toEqual([session.id])
      expect((await endSession(db, session.id, endOf(), new Date()))?.state).toBe('ended')
    })

    test('of any number of launches at once one gets the session and its lease, the others neither', async () => {
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, i) => {
          const { session, lease } = diskOf(personId, endpointId)
          return placeOnEndpoint(i % 2 === 0 ? db : other, session, lease)
        }),
      )
      expect(answers.filter((answer) => answer === 'placed')).toHaveLength(1)
      expect(await openLeases(db, endpointId)).toHaveLength(1)
      expect(await placeSession(db, sessionOf(personId, await addHost(db, 1)))).toBe('exists')
    })

    test('an endpoint has no more leases open than it may have, however many people launch at once', async () => {
      const people = await Promise.all(Array.from({ length: 12 }, () => addPerson(db)))
      const answers = await Promise.all(
        people.map((person, i) => {
          const { session, lease } = diskOf(person, endpointId)
          return placeOnEndpoint(i % 2 === 0 ? db : other, session, lease, 3)
        }),
      )
      expect(answers.filter((answer) => answer === 'placed')).toHaveLength(3)
      expect(answers.filter((answer) => answer === 'full')).toHaveLength(9)
      expect(await openLeases(db, endpointId)).toHaveLength(3)
      expect(await liveSessions(db, { endpointId })).toHaveLength(3)
    })

    test('a lease is offered, held, withdrawn and ended, and never goes back', async () => {
      const { lease } = await addDisk(db, personId, endpointId)
      const now = new Date()
      expect(await noteKeyReleased(db, lease.id, now)).toBe(true)
      expect(await holdLease(db, lease.id)).toBe(true)
      expect(await noteKeyReleased(db, lease.id, now)).toBe(false)
      const reasons = Array.from({ length: 6 }, (_, i) => ({ code: 'TRUST_LOST', reason: `caller ${i}` }))
      const withdrawn = await Promise.all(
        reasons.map((notice, i) => withdrawLease(i % 2 === 0 ? db : other, lease.id, notice, now)),
      )
      expect(withdrawn.filter(Boolean)).toHaveLength(1)
      expect((await leaseById(db, lease.id))?.notice).toEqual(reasons[withdrawn.indexOf(true)])
      expect(await holdLease(db, lease.id)).toBe(false)
      await renewLease(db, lease.id, { expires_at: new Date(0), overlay: 'keep' }, new Date())
      expect(await leaseById(db, lease.id)).toMatchObject({
        state: 'withdrawn',
        overlay: 'discard',
        expires_at: lease.expires_at,
      })
      expect((await openLeases(db, endpointId)).map(({ id }) => id)).toEqual([lease.id])
      expect(await endLease(db, lease.id, now)).toBe(true)
      expect(await endLease(other, lease.id, now)).toBe(false)
      expect(await withdrawLease(db, lease.id, { code: 'X', reason: 'late' }, now)).toBe(false)
      expect(await openLeases(db, endpointId)).toEqual([])
    })

    test('no key is sent under a lease that was withdrawn before', async () => {
      const { lease } = await addDisk(db, personId, endpointId)
      await withdrawLease(db, lease.id, { code: 'TRUST_LOST', reason: 'x' }, new Date())
      expect(await noteKeyReleased(db, lease.id, new Date())).toBe(false)
    })

    test('a lease that nobody renewed is found once its time has come, whatever its state', async () => {
      const { lease, session } = await addDisk(db, personId, endpointId)
      const later = new Date(lease.expires_at.getTime() + 1)
      expect(await expiredLeases(db, lease.expires_at)).toEqual([])
      await renewLease(db, lease.id, { expires_at: inMinutes(99) }, later)
      expect((await leaseById(db, lease.id))?.expires_at).toEqual(lease.expires_at)
      await withdrawLease(db, lease.id, { code: 'TRUST_LOST', reason: 'x' }, new Date())
      expect((await expiredLeases(db, later)).map(({ id }) => id)).toEqual([lease.id])
      expect((await leaseOfSession(db, session.id))?.id).toBe(lease.id)
      await endLease(db, lease.id, later)
      expect(await expiredLeases(db, later)).toEqual([])
    })

    test('what was opened from an endpoint is decided again, wherever it runs', async () => {
      const { session } = await addDisk(db, personId, endpointId)
      const hosted = { ...sessionOf(personId, await addHost(db, 3), 'paint'), from_endpoint_id: endpointId }
      await placeSession(db, hosted)
      await placeSession(db, sessionOf(personId, hosted.host_id, 'browser'))
      const web = webSessionOf(personId)
      await insertWebSession(db, web, null)
      const beside = { ...sessionOf(personId, hosted.host_id, 'write'), web_session_id: web.id }
      await placeSession(db, beside)
      await noteBrowserEndpoint(db, web.id, endpointId, new Date())
      await requestRedecisions(db, 'evidence', new Date(), { fromEndpointId: endpointId })
      expect((await workAll(db)).map(({ id }) => id).toSorted()).toEqual(
        [session.id, hosted.id, beside.id].toSorted(),
      )
    })
  })
}
