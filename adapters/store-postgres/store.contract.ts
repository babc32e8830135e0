import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import {
  type AuditData,
  type AuditKind,
  createAppender,
  decodeEntryBundle,
  encodeEntry,
  encodeVerifierKey,
  type FileReader,
  formatTlogProof,
  type LogVerdict,
  openTlogProof,
  parseTilePath,
  parseVerifierKey,
  TILE_WIDTH,
  verifyLog,
} from '#core/audit/index.ts'
import type { Obligations } from '#core/trust/words.ts'
import {
  activePolicy,
  addEndpointKey,
  allReplicaIds,
  appendAudit,
  armTicket,
  type Basis,
  beginReplica,
  catchUpIndex,
  clearFailures,
  commitReplica,
  countAttempt,
  countFallen,
  countOpenHandoffs,
  countOpenTickets,
  type Db,
  deleteReplica,
  deleteWebSessionsOf,
  depositImageKey,
  endAlarm,
  endLease,
  endpointKeys,
  endSession,
  entriesAbout,
  evidenceOf,
  expiredLeases,
  freezeSession,
  type Hint,
  holdLease,
  imageKey,
  imagesWithKey,
  insertAgent,
  insertDecision,
  insertEnrolmentRequest,
  insertEnrolmentToken,
  insertHandoff,
  insertPerson,
  insertPolicy,
  insertTicket,
  insertTpmChallenge,
  insertWebSession,
  isAway,
  isTicketArmed,
  lastAlarm,
  leaseById,
  leaseOfSession,
  listDecisions,
  liveSessions,
  livingAgents,
  migrate,
  type NewEvidence,
  type NewSession,
  noteBrowserEndpoint,
  noteKeyReleased,
  noteReplicaUse,
  openAlarms,
  openLeases,
  openStore,
  openTickets,
  placeOnEndpoint,
  placeSession,
  prolongWebSession,
  proveEntry,
  putStatements,
  quietEndpoints,
  raiseAlarm,
  readCheckpoint,
  readTile,
  readySession,
  readZones,
  recordHostHello,
  recordRepeatedEvidence,
  redeemTicket,
  renewLease,
  replicaById,
  replicaCopies,
  replicaOf,
  requestRedecisions,
  reserveReplicaRoom,
  revokeAgent,
  type Store,
  type StoreAddress,
  sessionById,
  setDraining,
  statementsOf,
  type TimelinePage,
  thawSession,
  tidyReplica,
  uncountAttempt,
  updatePerson,
  updateSession,
  useEnrolmentToken,
  type WebSessionRow,
  webSessionById,
  withdrawLease,
  workRedecisions,
  workspaceById,
  writeEvidence,
  writeWorkspace,
  writeZones,
} from './index.ts'
import { up as createSite } from './migrations/0001-site.ts'
import { up as addEndpoints } from './migrations/0005-endpoints.ts'
import { sessionRow } from './session-row.fixture.ts'

/** A PostgreSQL server of a test's own, with an empty database that the address's role owns. */
export interface TestServer extends AsyncDisposable {
  readonly address: StoreAddress
  /** The running server's. */
  pid(): number
  /** Resolves when the server is gone; it must be running. */
  stop(how: 'in order' | 'killed'): Promise<void>
  /** Starts the stopped server again and resolves when it takes connections. */
  start(): Promise<void>
}

/** What the store promises on every PostgreSQL. */
export function storeContract(name: string, startServer: () => Promise<TestServer>): void {
  describe(name, () => {
    let server: TestServer
    const stores: Store[] = []
    const listening: AbortController[] = []
    /** Two site nodes. */
    let db: Db
    let other: Db

    /** The same by both nodes, many times. */
    function atOnce<T>(work: (from: Db) => Promise<T>): Promise<readonly T[]> {
      return Promise.all(Array.from({ length: 20 }, (_, i) => work(i % 2 === 0 ? db : other)))
    }

    function open(): Store {
      const store = openStore(server.address)
      stores.push(store)
      return store
    }

    beforeAll(async () => {
      server = await startServer()
    })

    afterAll(async () => server[Symbol.asyncDispose]())

    beforeEach(async () => {
      ;[db, other] = [open().db, open().db]
      await sql`drop schema public cascade`.execute(db)
      await sql`create schema public`.execute(db)
    })

    afterEach(async () => {
      for (const abort of listening.splice(0)) abort.abort()
      await Promise.all(stores.splice(0).map((store) => store.close()))
    })

    describe('migrations', () => {
      test('run once, however often they are asked for', async () => {
        expect(await migrate(server.address)).toEqual(expect.arrayContaining(['0001-site', '0005-endpoints']))
        expect(await migrate(server.address)).toEqual([])
      })

      test('run once when two nodes start together', async () => {
        const done = await Promise.all([migrate(server.address), migrate(server.address)])
        expect(done.filter((names) => names.length > 0)).toHaveLength(1)
      })

      test('what was decided before a word was there has its default', async () => {
        await createSite(db as unknown as Kysely<unknown>)
        const hostId = randomUUID()
        // As it was written then: later words of a host have no column yet.
        await sql`insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, capacity, report)
          values (${hostId}, 'host', 'old', '{}', 'default', now() + interval '1 hour', 1, '{}')`.execute(db)
        const session = sessionOf(await addPerson(db), hostId)
        const {
          leaseMinutes: _,
          overlay: __,
          ...obligations
        } = JSON.parse(session.obligations) as Obligations
        await placeSession(db, { ...session, obligations: JSON.stringify(obligations) })
        await addEndpoints(db as unknown as Kysely<unknown>)
        const [row] = await db.selectFrom('sessions').select('obligations').execute()
        expect(row?.obligations).toMatchObject({ leaseMinutes: 15, overlay: 'discard', sessionMinutes: 60 })
      })

      test('refuse a database that a newer version has used', async () => {
        await migrate(server.address)
        await sql`insert into kysely_migration (name, timestamp) values ('9999-later', '2031-01-01')`.execute(
          db,
        )
        const error: unknown = await migrate(server.address).catch((error: unknown) => error)
        expect(error).toMatchObject({ code: 'STORE_MIGRATION_FAILED' })
        expect(isAway(error)).toBe(false)
      })
    })

    describe('web sessions', () => {
      beforeEach(async () => {
        await migrate(server.address)
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
      test('live on while they are used, never beyond their longest life, and do not come back', async () => {
        await migrate(server.address)
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

    describe('places on hosts', () => {
      beforeEach(async () => {
        await migrate(server.address)
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

    describe('single use', () => {
      beforeEach(async () => {
        await migrate(server.address)
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

      test('of codes, challenges and machines that wait there are no more than may be, however many ask at once', async () => {
        const [made_at, expires_at] = [new Date(), inMinutes(1)]
        const web = webSessionOf(await addPerson(db))
        await insertWebSession(db, web, null)
        const of = { person_id: web.person_id, web_session_id: web.id, workspace_id: null, endpoint_id: null }
        const handoff = { ...of, switch: false, made_at, expires_at }
        const codes = await atOnce((from) =>
          insertHandoff(from, { ...handoff, code_hash: randomBytes(32) }, 5),
        )
        expect(codes.filter(Boolean)).toHaveLength(5)
        expect(await countOpenHandoffs(db, web.id, made_at)).toBe(5)

        const secret_hash = randomBytes(32)
        const token = { kind: 'endpoint' as const, name: 'e', dns_names: [], pool: 'default', expires_at }
        await insertEnrolmentToken(db, { ...token, secret_hash })
        const proven = { request_hash: secret_hash, ak_public: secret_hash, ek_fingerprint: 'x' }
        const challenge = { ...proven, token_hash: secret_hash, secret_hash, expires_at }
        const challenges = await atOnce((from) =>
          insertTpmChallenge(from, { ...challenge, id: randomUUID() }, made_at),
        )
        expect(challenges.filter(Boolean)).toHaveLength(5)

        const waiting = { name: 'm', address: '127.0.0.1', state: 'waiting' as const, requested_at: made_at }
        const ask = (from: Db, source: string) => {
          const row = { ...waiting, id: randomUUID(), code: randomUUID(), source, expires_at }
          const most = { fromSource: 3, inAll: 5 }
          return insertEnrolmentRequest(from, { ...row, secret_hash: randomBytes(32) }, most)
        }
        const [one, two] = [await atOnce((from) => ask(from, 'a')), await atOnce((from) => ask(from, 'b'))]
        expect(one.filter((answer) => answer === 'stored')).toHaveLength(3)
        expect(two.filter((answer) => answer === 'stored')).toHaveLength(2)
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

    describe('what admins replace', () => {
      beforeEach(() => migrate(server.address))

      test('is replaced by one of those who saw the same, and by whoever does not say what they saw', async () => {
        const things = [
          {
            read: () => activePolicy(db),
            write: (from: Db, name: string, basis?: Basis<never>) =>
              insertPolicy(from, policyOf(name), basis),
          },
          {
            read: () => readZones(db),
            write: (from: Db, name: string, basis?: Basis<never>) => writeZones(from, zonesOf(name), basis),
          },
          {
            read: () => workspaceById(db, workspace.id),
            write: (from: Db, name: string, basis?: Basis<never>) =>
              writeWorkspace(from, { ...workspace, name }, 0, basis),
          },
        ]
        for (const { read, write } of things) {
          // The first time there is nothing yet.
          for (const round of ['made', 'changed']) {
            const basis = { was: (await read()) as undefined }
            const done = await atOnce((from) => write(from, `${round} ${randomUUID()}`, basis))
            expect(done.filter(Boolean)).toHaveLength(1)
            expect(await write(db, 'late', basis)).toBe(false)
          }
          expect(await write(db, 'whatever is there')).toBe(true)
          expect(JSON.stringify(await read())).toContain('whatever is there')
        }
      })
    })

    describe('leases', () => {
      let endpointId: string
      let personId: string

      beforeEach(async () => {
        await migrate(server.address)
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

    describe('replicas', () => {
      let lease: Awaited<ReturnType<typeof addDisk>>['lease']
      const keyOf = () => ({ person_id: lease.person_id, scope: '', image: 'office', version: '1' })
      const begun = async () => {
        const row = { ...keyOf(), id: randomUUID(), lease_id: lease.id, made_at: new Date() }
        return (await beginReplica(db, row))!
      }
      const committed = (sequence: number) => ({
        sequence,
        manifest: 'a'.repeat(64),
        bytes: 10,
        lease_id: lease.id,
        committed_at: new Date(),
      })

      beforeEach(async () => {
        await migrate(server.address)
        await writeWorkspace(db, workspace, 0)
        ;({ lease } = await addDisk(db, await addPerson(db), await addEndpoint(db)))
      })

      test('an overlay has one replica, whoever begins it', async () => {
        expect(await replicaOf(db, keyOf())).toBeUndefined()
        const all = await Promise.all([begun(), begun(), begun()])
        expect(new Set(all.map(({ id }) => id)).size).toBe(1)
        expect(await replicaOf(db, { ...keyOf(), scope: 'desk' })).toBeUndefined()
        expect(await replicaCopies(db, 10)).toEqual([])
        await commitReplica(db, all[0].id, async () => committed(1))
        expect(await replicaCopies(db, 10)).toMatchObject([
          { id: all[0].id, sequence: '1', bytes: '10', endpoint_id: lease.endpoint_id },
        ])
      })

      test('of many who commit at once each sees what the one before has made', async () => {
        const { id } = await begun()
        const seen: string[] = []
        await Promise.all(
          Array.from({ length: 8 }, (_, i) =>
            commitReplica(i % 2 === 0 ? db : other, id, async ({ sequence }) => {
              seen.push(sequence)
              return committed(Number(sequence) + 1)
            }),
          ),
        )
        expect(seen.map(Number).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
        await expect(
          commitReplica(db, id, async () => {
            throw new Error('refused')
          }),
        ).rejects.toThrow('refused')
        expect((await replicaById(db, id))?.sequence).toBe('8')
      })

      test('room is taken up to a bound, and given back when it is tidied', async () => {
        const { id } = await begun()
        const taken = await Promise.all(
          Array.from({ length: 10 }, (_, i) => reserveReplicaRoom(i % 2 === 0 ? db : other, id, 30, 100)),
        )
        expect(taken.filter(Boolean)).toHaveLength(3)
        await tidyReplica(db, id, async ({ stored }) => Number(stored) - 60)
        expect((await replicaById(db, id))?.stored).toBe('30')
        expect(await deleteReplica(db, id)).toBe(true)
        expect(await deleteReplica(other, id)).toBe(false)
        expect(await commitReplica(db, id, async () => committed(1))).toBe(false)
        expect(await allReplicaIds(db)).toEqual([])
      })

      test('a lease that replicates leaves a copy on its endpoint as one that keeps does', async () => {
        await renewLease(db, lease.id, { overlay: 'replicate' }, new Date())
        await noteReplicaUse(db, lease.id, 'replica_kept_at', new Date(7))
        expect(await leaseById(db, lease.id)).toMatchObject({
          overlay: 'replicate',
          replica_kept_at: new Date(7),
          replica_read_at: null,
          paused_at: null,
        })
      })
    })

    describe('keys of endpoints and images', () => {
      beforeEach(async () => {
        await migrate(server.address)
      })

      test('an endpoint is known by the keys of its good certificates, and by no more than three', async () => {
        const endpointId = await addEndpoint(db)
        const keys = Array.from({ length: 5 }, (_, i) => Buffer.from(`key ${i}`))
        for (const [i, public_key] of keys.entries())
          await addEndpointKey(db, { endpoint_id: endpointId, public_key, expires_at: inMinutes(i + 1) })
        const known = await endpointKeys(db, endpointId, inMinutes(0))
        expect(known.map(String).toSorted()).toEqual(['key 2', 'key 3', 'key 4'])
        expect((await endpointKeys(db, endpointId, inMinutes(4))).map(String)).toEqual(['key 4'])
        expect(await endpointKeys(db, await addEndpoint(db), inMinutes(0))).toEqual([])
      })

      test('the key of an image is deposited once, and again only if it is the same', async () => {
        const row = { name: 'office', key_id: 'a', sealed: Buffer.from('1'), deposited_at: new Date() }
        expect(await imageKey(db, 'office')).toBeUndefined()
        expect(await depositImageKey(db, row)).toBe(true)
        expect(await depositImageKey(db, { ...row, sealed: Buffer.from('2') })).toBe(true)
        expect(await depositImageKey(other, { ...row, key_id: 'b', sealed: Buffer.from('3') })).toBe(false)
        expect(await imageKey(db, 'office')).toMatchObject({ key_id: 'a', sealed: Buffer.from('2') })
        expect([...(await imagesWithKey(db))]).toEqual(['office'])
      })
    })

    describe('evidence and alarms', () => {
      beforeEach(async () => {
        await migrate(server.address)
      })

      test('of several who write what they know of an endpoint, one does', async () => {
        const id = await addEndpoint(db)
        expect(await writeEvidence(db, evidence(id))).toBe(true)
        const next = evidence(id, { version: 2, sequence: 4 })
        const done = await Promise.all([db, other, db].map((one) => writeEvidence(one, next)))
        expect(done.filter(Boolean)).toHaveLength(1)
        expect(await evidenceOf(db, id)).toMatchObject({ version: 2, sequence: '4' })
      })

      test('evidence that came again is written for many at once, and only where nothing has changed', async () => {
        const ids = await Promise.all(Array.from({ length: 4 }, () => addEndpoint(db)))
        const [good = '', moved = '', silent = '', forked = ''] = ids
        await writeEvidence(db, evidence(good))
        await writeEvidence(db, evidence(moved, { sequence: 9 }))
        await writeEvidence(db, evidence(silent, { silent: true }))
        await writeEvidence(db, evidence(forked, { forked_at: new Date() }))
        expect([
          ...(await recordRepeatedEvidence(
            db,
            ids.map((id) => repeated(id, 3)),
          )),
        ]).toEqual([good])
        expect(await evidenceOf(db, good)).toMatchObject({ version: 1, sequence: '4', basis: '3' })
        expect(await evidenceOf(db, moved)).toMatchObject({ sequence: '9' })
      })

      test('who fell and who reports is counted, and those who were revoked are not', async () => {
        const [fell = '', stands = '', old = '', revoked = ''] = await Promise.all(
          Array.from({ length: 4 }, () => addEndpoint(db)),
        )
        await writeEvidence(db, evidence(fell, { fell_at: inMinutes(-1), last_at: inMinutes(-20) }))
        await writeEvidence(db, evidence(stands))
        await writeEvidence(db, evidence(old, { last_at: inMinutes(-20), fell_at: inMinutes(-10) }))
        await writeEvidence(db, evidence(revoked, { fell_at: inMinutes(-1) }))
        await revokeAgent(db, revoked, new Date())
        const since = { fell: inMinutes(-5), recent: inMinutes(-5), heard: inMinutes(-7) }
        expect(await countFallen(db, since)).toEqual({ fallen: 1, reporting: 2 })
        expect(await quietEndpoints(db, inMinutes(-2))).toEqual(expect.arrayContaining([fell, old]))
        expect([...(await livingAgents(db, [fell, revoked, randomUUID()]))]).toEqual([[fell, 'endpoint']])
      })

      test('who fell silent a while ago counts for as long as something runs from there', async () => {
        const [idle, working] = await Promise.all([addEndpoint(db), addEndpoint(db)])
        const session = { ...sessionOf(await addPerson(db), await addHost(db, 1)), from_endpoint_id: working }
        await placeSession(db, session)
        for (const id of [idle, working])
          await writeEvidence(
            db,
            evidence(id, { silent: true, last_at: inMinutes(-12), fell_at: inMinutes(-10) }),
          )
        const since = { fell: inMinutes(-15), recent: inMinutes(-5), heard: inMinutes(-7) }
        expect(await countFallen(db, { ...since, recent: inMinutes(-15) })).toEqual({
          fallen: 2,
          reporting: 2,
        })
        expect(await countFallen(db, since)).toEqual({ fallen: 1, reporting: 1 })
        await endSession(db, session.id, endOf(), new Date())
        expect(await countFallen(db, since)).toEqual({ fallen: 0, reporting: 0 })
      })

      test('a statement replaces what its system said before, and is gone when it has expired', async () => {
        const endpoint_id = await addEndpoint(db)
        const row = {
          endpoint_id,
          system: 'mdm',
          claim: 'endpoint.firewall',
          value: 'on',
          at: new Date(),
        } as const
        await putStatements(db, [{ ...row, expires_at: inMinutes(5) }])
        await putStatements(db, [
          { ...row, value: 'off', expires_at: inMinutes(5) },
          { ...row, system: 'edr', expires_at: inMinutes(1) },
        ])
        const said = await statementsOf(db, new Date(), endpoint_id)
        expect(said.map(({ system, value }) => [system, value])).toEqual([
          ['edr', 'on'],
          ['mdm', 'off'],
        ])
        expect(await statementsOf(db, inMinutes(2), endpoint_id)).toHaveLength(1)
      })

      test('two that say the same in opposite orders never wait for each other', async () => {
        const endpoint_id = await addEndpoint(db)
        const rows = Array.from({ length: 40 }, (_, i) => ({
          endpoint_id,
          system: `system-${i}`,
          claim: 'endpoint.firewall' as const,
          value: 'on',
          at: new Date(),
          expires_at: inMinutes(5),
        }))
        const turns = Array.from({ length: 8 }, (_, i) =>
          putStatements(i % 2 === 0 ? db : other, i % 2 === 0 ? rows : rows.toReversed()),
        )
        await Promise.all(turns)
        expect(await statementsOf(db, new Date(), endpoint_id)).toHaveLength(rows.length)
      })

      test('of each alarm one stands, until it is ended', async () => {
        const alarm = {
          key: 'brake',
          kind: 'brake',
          message: 'x',
          remedy: 'y',
          raised_at: new Date(),
        } as const
        const raised = await Promise.all(
          [db, other, db].map((one) => raiseAlarm(one, { id: randomUUID(), ...alarm })),
        )
        expect(raised.filter(Boolean)).toHaveLength(1)
        const [standing] = await openAlarms(db)
        expect(await endAlarm(db, standing?.id ?? '', 'Ada', new Date())).toMatchObject({ ended_by: 'Ada' })
        expect(await endAlarm(other, standing?.id ?? '', undefined, new Date())).toBeUndefined()
        expect(await openAlarms(db)).toEqual([])
        expect(await lastAlarm(db, 'brake')).toMatchObject({ ended_by: 'Ada' })
        expect(await raiseAlarm(db, { id: randomUUID(), ...alarm })).toBe(true)
      })
    })

    describe('re-decisions', () => {
      let sessions: NewSession[]

      beforeEach(async () => {
        await migrate(server.address)
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

    describe('hints', () => {
      test('reach every listening node', async () => {
        const [one, two, teller] = [listen(listening, open()), listen(listening, open()), open()]
        await Promise.all([one.next('lost'), two.next('lost')])
        await teller.notify({ topic: 'person', id: 'p-1' })
        for (const node of [one, two])
          expect(await node.next('person')).toEqual({ topic: 'person', id: 'p-1' })
      })

      test('after a killed connection the node is told that hints may be lost, then hears again', async () => {
        const teller = open()
        const node = listen(listening, open())
        for (let round = 0; round < 3; round++) {
          await node.next('lost')
          for (const pid of await backends(db, 'listen %')) {
            await sql`select pg_terminate_backend(${pid})`.execute(db)
          }
        }
        await node.next('lost')
        await teller.notify({ topic: 'policy' })
        await node.next('policy')
        expect(getEventListeners(node.signal, 'abort')).toHaveLength(1)
      })

      test.each(['in order', 'killed'] as const)('after a server that was stopped (%s) too', async (how) => {
        const teller = open()
        const node = listen(listening, open())
        await node.next('lost')
        await server.stop(how)
        await server.start()
        await node.next('lost')
        await teller.notify({ topic: 'zones' })
        await node.next('zones')
      })

      test('a node that stops listening leaves no connection', async () => {
        const node = listen(listening, open())
        await node.next('lost')
        node.stop()
        await expect.poll(() => backends(db, 'listen %')).toEqual([])
      })
    })

    describe('a database that is away', () => {
      afterEach(async () => {
        await server.start()
      })

      test.each(['in order', 'killed'] as const)('stopped (%s): every query says so', async (how) => {
        await migrate(server.address)
        const hostId = await addHost(db, 1)
        const session = sessionOf(await addPerson(db), hostId)
        const running = failureOf(sql`select pg_sleep(60)`.execute(db))
        const within = failureOf(
          db.transaction().execute(async (tx) => {
            await sql`select 1`.execute(tx)
            await sql`select pg_sleep(60)`.execute(tx)
          }),
        )
        await sleep(100)
        await server.stop(how)
        const failures = [
          await running,
          await within,
          await failureOf(sql`select 1`.execute(db)),
          await failureOf(sql`select 1`.execute(open().db)),
          await failureOf(placeSession(other, session)),
          await failureOf(open().notify({ topic: 'policy' })),
          await failureOf(migrate(server.address)),
        ]
        expect(failures.filter((error) => !isAway(error))).toEqual([])
        await server.start()
        expect(await placeSession(other, session)).toBe('placed')
      })

      test('restarting: queries say so until they work again by themselves', async () => {
        const failures: unknown[] = []
        let isOver = false
        const asking = Promise.all(
          [open(), open(), open()].map(async (store) => {
            for (;;) {
              const wasOver = isOver
              const error = await failureOf(sql`select 1`.execute(store.db))
              if (error === undefined && wasOver) return
              if (error !== undefined) failures.push(error)
            }
          }),
        )
        await server.stop('killed')
        await server.start()
        await server.stop('in order')
        await server.start()
        isOver = true
        await asking
        expect(failures.length).toBeGreaterThan(0)
        expect(failures.filter((error) => !isAway(error))).toEqual([])
      })

      test('killed under one connection: the others are told and it comes back', async () => {
        const victim = failureOf(sql`select pg_sleep(60), 'victim'`.execute(other))
        await expect.poll(() => backends(db, '%victim%')).toHaveLength(1)
        const bystander = failureOf(sql`select pg_sleep(60)`.execute(open().db))
        await sleep(50)
        for (const pid of await backends(db, '%victim%')) process.kill(pid, 'SIGKILL')
        expect([isAway(await victim), isAway(await bystander)]).toEqual([true, true])
        // A connection that is there already may be answered once more before the server ends it.
        const anew = () => failureOf(sql`select 1`.execute(open().db))
        await expect.poll(anew, { timeout: 60_000 }).toBeUndefined()
      })

      test('silent: a connection that is never answered', async () => {
        process.kill(server.pid(), 'SIGSTOP')
        try {
          expect(isAway(await failureOf(sql`select 1`.execute(open().db)))).toBe(true)
        } finally {
          process.kill(server.pid(), 'SIGCONT')
        }
      })

      test('what is wrong with a request is not the database being away', async () => {
        await migrate(server.address)
        const id = await addPerson(db)
        const again = db.insertInto('people').values({ ...personOf('other'), id })
        const sessionOfNobody = sessionOf(randomUUID(), await addHost(db, 1))
        const failures = [
          await failureOf(again.execute()),
          await failureOf(placeSession(db, sessionOfNobody)),
          await failureOf(sql`select no_such_column`.execute(db)),
          await failureOf(sql`set local statement_timeout = 1; select pg_sleep(1)`.execute(db)),
        ]
        expect(failures).toMatchObject([
          { code: '23505' },
          { code: '23503' },
          { code: '42703' },
          { code: '57014' },
        ])
        expect(failures.filter(isAway)).toEqual([])
      })
    })

    describe('the audit log', () => {
      const { privateKey } = generateKeyPairSync('ed25519')
      const signer = { name: 'store.example/audit', privateKey }
      const publicKey = encodeVerifierKey(signer.name, privateKey)

      beforeEach(async () => {
        await migrate(server.address)
      })

      function verify(trusted?: string): Promise<LogVerdict> {
        return verifyLog({ read: filesOf(db), publicKey, ...(trusted !== undefined && { trusted }) })
      }

      test('grows without a gap when two nodes append in parallel', async () => {
        const appenders = [db, other].map((node) =>
          createAppender({ commit: (batch) => appendAudit(node, signer, batch), maxBatch: 37 }),
        )
        const append = (from: number, to: number): Promise<bigint[]> =>
          Promise.all(
            Array.from({ length: to - from }, (_, i) =>
              appenders[i % 2]!.append(Buffer.from(`entry ${from + i}`)),
            ),
          )
        const early = await append(0, 300)
        const trusted = (await readCheckpoint(db))!
        const late = await append(300, 800)
        const indexes = [...early, ...late]
        expect(indexes.map(Number).toSorted((a, b) => a - b)).toEqual(Array.from(indexes.keys()))
        expect(await verify(trusted)).toMatchObject({ ok: true, size: 800n })
        expect(await readTile(db, { level: 1, index: 0n, width: 3 })).toHaveLength(96)
        for (const [i, entry] of (await readEntries(db)).entries()) {
          expect(entry).toBe(`entry ${indexes.indexOf(BigInt(i))}`)
        }
      })

      test('gives the same tree whatever the batches', async () => {
        for (const [length, size] of [
          [1, 1],
          [254, 255],
          [1, 256],
          [1, 257],
          [600, 857],
          [167, 1024],
        ] as const) {
          await appendAudit(
            db,
            signer,
            Array.from({ length }, (_, i) => Buffer.from(`${size} ${i}`)),
          )
          expect(await verify()).toMatchObject({ ok: true, size: BigInt(size) })
        }
      })

      test('proves each entry by the latest checkpoint, and none that it has not', async () => {
        const verifier = parseVerifierKey(publicKey)
        const entries = Array.from({ length: 1100 }, (_, i) => Buffer.from(`entry ${i}`))
        await appendAudit(db, signer, entries.slice(0, 700))
        await appendAudit(db, signer, entries.slice(700))
        for (const index of [0, 1, 254, 255, 256, 511, 640, 767, 768, 1023, 1024, 1098, 1099]) {
          const proof = (await proveEntry(db, BigInt(index)))!
          const proven = openTlogProof(Buffer.from(formatTlogProof(proof)), verifier)
          expect(proven).toMatchObject({ index: BigInt(index), entry: entries[index] })
        }
        expect(await proveEntry(db, 1100n)).toBeUndefined()
      })

      test('finds entries by what they are about, also what was appended without an index', async () => {
        const [nora, session, laptop] = [randomUUID(), randomUUID(), randomUUID()]
        const entry = (kind: AuditKind, subject: string, data: AuditData): Buffer => {
          const at = '2026-08-01T10:00:00.000Z'
          return Buffer.from(encodeEntry({ at, kind, actor: { type: 'person', id: nora }, subject, data }))
        }
        await appendAudit(db, signer, [
          entry('session-started', session, { endpoint: laptop, workspace: 'lab' }),
          Buffer.from('no entry'),
          entry('ticket-issued', session, {}),
        ])
        await appendAudit(db, signer, [entry('session-ended', session, { code: 'OVER' })])
        const found = async (subject: string, page: Partial<TimelinePage> = {}): Promise<number[]> =>
          (await entriesAbout(db, [subject], { limit: 10, ...page })).map(({ index }) => Number(index))
        for (const subject of [nora, session, laptop, 'workspace:lab'])
          expect(await found(subject)).toEqual([3, 2, 0])
        expect(await found(laptop, { limit: 1, before: 3n })).toEqual([2])
        expect(await found(randomUUID())).toEqual([])

        await sql`truncate audit_subjects, audit_sessions`.execute(db)
        await sql`update audit_head set indexed = 0`.execute(db)
        await appendAudit(db, signer, [entry('session-ended', session, { code: 'AGAIN' })])
        await Promise.all([db, other].map(catchUpIndex))
        expect(await found('workspace:lab')).toEqual([4, 3, 2, 0])
        await appendAudit(db, signer, [entry('sign-out', nora, {})])
        expect(await found(nora)).toEqual([5, 4, 3, 2, 0])
      })

      test('has no tile beyond its end, however far', async () => {
        expect(await readCheckpoint(db)).toBeUndefined()
        await appendAudit(db, signer, [Buffer.from('one')])
        for (const path of ['tile/0/000.p/2', 'tile/1/000.p/1', 'tile/63/001', 'tile/entries/x999/999']) {
          expect(await readTile(db, parseTilePath(path)!)).toBeUndefined()
        }
        const farthest = parseTilePath(`tile/0/${'x999/'.repeat(9)}999`)!
        expect(await readTile(db, farthest)).toBeUndefined()
      })

      test('keeps all that it acknowledged when the server is killed', async () => {
        const acknowledged = new Map<bigint, string>()
        const stopped = new AbortController()
        const writing = [db, other].map(async (node, n) => {
          for (let i = 0; !stopped.signal.aborted; i++) {
            const entries = Array.from({ length: 1 + (i % 9) }, (_, k) => `${n} ${i} ${k}`)
            try {
              const indexes = await appendAudit(
                node,
                signer,
                entries.map((entry) => Buffer.from(entry)),
              )
              for (const [k, index] of indexes.entries()) acknowledged.set(index, entries[k]!)
            } catch (error) {
              expect(isAway(error)).toBe(true)
              return
            }
          }
        })
        try {
          await expect.poll(() => acknowledged.size, { timeout: 30_000 }).toBeGreaterThan(300)
          await server.stop('killed')
        } finally {
          stopped.abort()
        }
        await Promise.all(writing)
        await server.start()
        expect(await verify()).toMatchObject({ ok: true })
        const kept = await readEntries(open().db)
        for (const [index, entry] of acknowledged) expect(kept[Number(index)]).toBe(entry)
        await appendAudit(db, signer, [Buffer.from('after')])
        expect(await verify()).toMatchObject({ ok: true, size: BigInt(kept.length + 1) })
      })
    })

    test('decisions are listed page after page, those of one moment, too', async () => {
      await migrate(server.address)
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

    test('of parallel attempts to sign in each is judged by all that were let through before', async () => {
      await migrate(server.address)
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

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  )
}

function personOf(login: string) {
  return { id: randomUUID(), login, name: login, password: null, groups: [], created_at: new Date() }
}

function policyOf(text: string) {
  return { text, digest: text, activated_at: new Date(), activated_by: '' }
}

function zonesOf(name: string) {
  return [{ name, kind: 'inside' as const, networks: ['192.0.2.0/24'] }]
}

async function addPerson(db: Db): Promise<string> {
  const person = personOf(`p-${randomUUID()}`)
  await insertPerson(db, person)
  return person.id
}

async function addHost(db: Db, capacity: number): Promise<string> {
  const id = randomUUID()
  const certificate_expires_at = new Date(Date.now() + 3_600_000)
  await insertAgent(db, {
    id,
    kind: 'host',
    name: id,
    dns_names: [],
    pool: 'default',
    certificate_expires_at,
  })
  await recordHostHello(db, id, randomBytes(32), capacity, new Date())
  return id
}

const workspace: WorkspaceDefinition = {
  id: 'desk',
  name: 'Desk',
  description: '',
  icon: 'desktop',
  pool: 'default',
  modes: ['streamed-disk'],
  collections: [],
  program: { kind: 'desktop' },
  disk: { image: 'office', channel: 'production', application: 'office' },
}

function inMinutes(minutes: number): Date {
  return new Date(Date.now() + minutes * 60_000)
}

async function addEndpoint(db: Db): Promise<string> {
  const id = randomUUID()
  const certificate_expires_at = new Date(Date.now() + 3_600_000)
  await insertAgent(db, {
    id,
    kind: 'endpoint',
    name: id,
    dns_names: [],
    pool: 'default',
    certificate_expires_at,
  })
  return id
}

function diskOf(personId: string, endpointId: string) {
  const { host_id: _, ...hosted } = sessionOf(personId, '')
  const session = {
    ...hosted,
    mode: 'streamed-disk' as const,
    host_id: null,
    endpoint_id: endpointId,
    from_endpoint_id: endpointId,
  }
  const lease = {
    id: randomUUID() as string,
    session_id: session.id,
    person_id: personId,
    endpoint_id: endpointId,
    workspace_id: session.workspace_id,
    image: 'office',
    version: '1',
    counter: '1',
    manifest_digest: 'a'.repeat(64),
    mode: 'streamed-disk' as const,
    overlay: 'discard' as const,
    state: 'offered' as const,
    made_at: new Date(),
    expires_at: new Date(Date.now() + 900_000),
  }
  return { session, lease }
}

async function addDisk(db: Db, personId: string, endpointId: string) {
  const disk = diskOf(personId, endpointId)
  expect(await placeOnEndpoint(db, disk.session, disk.lease)).toBe('placed')
  return disk
}

function sessionOf(personId: string, hostId: string, workspaceId = 'desk') {
  const row = { ...sessionRow(personId, workspaceId), web_session_id: null }
  return { ...row, host_id: hostId, mode: 'hosted-shared' } satisfies NewSession
}

function endOf(reason = 'asked to') {
  return { code: 'SESSION_OVER', reason, unlocks: [], at: new Date().toISOString() }
}

/** Processes of the server whose last query is like `pattern`, beside the one that answers this. */
async function backends(db: Db, pattern: string): Promise<readonly number[]> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_stat_activity where query like ${pattern} and pid <> pg_backend_pid()`.execute(db)
  return rows.map(({ pid }) => pid)
}

/** How many places the host counts, and how many sessions truly hold one. */
async function placedOn(db: Db, hostId: string): Promise<{ placed: number; live: number }> {
  const { placed } = await db
    .selectFrom('agents')
    .select('placed')
    .where('id', '=', hostId)
    .executeTakeFirstOrThrow()
  const { live } = await db
    .selectFrom('sessions')
    .select((eb) => eb.fn.countAll<string>().as('live'))
    .where('host_id', '=', hostId)
    .where('state', '<>', 'ended')
    .executeTakeFirstOrThrow()
  return { placed, live: Number(live) }
}

function idsOf(sessions: readonly NewSession[]): readonly string[] {
  return sessions.map(({ id }) => id).toSorted()
}

async function workAll(db: Db): Promise<readonly { readonly id: string; readonly cause: string }[]> {
  const worked: { id: string; cause: string }[] = []
  await workRedecisions(db, async (id, cause) => {
    worked.push({ id, cause })
  })
  return worked
}

/** A node that listens; `next` takes the hints heard so far up to the next of a topic, waiting for it if need be. */
function listen(listening: AbortController[], store: Store) {
  const abort = new AbortController()
  listening.push(abort)
  const heard: Hint[] = []
  let more = Promise.withResolvers<void>()
  store.listen((hint) => {
    heard.push(hint)
    more.resolve()
  }, abort.signal)
  const next = async (topic: Hint['topic']): Promise<Hint> => {
    for (;;) {
      const hint = heard.shift()
      if (hint?.topic === topic) return hint
      if (hint !== undefined) continue
      more = Promise.withResolvers()
      await more.promise
    }
  }
  return { next, signal: abort.signal, stop: () => abort.abort() }
}

function filesOf(db: Db): FileReader {
  return async (path) => {
    if (path === 'checkpoint') {
      const checkpoint = await readCheckpoint(db)
      return checkpoint === undefined ? undefined : Buffer.from(checkpoint)
    }
    const tile = parseTilePath(path)
    return tile === undefined ? undefined : readTile(db, tile)
  }
}

async function readEntries(db: Db): Promise<readonly string[]> {
  const { size } = await db.selectFrom('audit_head').select('size').executeTakeFirstOrThrow()
  const entries: string[] = []
  while (entries.length < Number(size)) {
    const index = BigInt(entries.length / TILE_WIDTH)
    const width = Math.min(TILE_WIDTH, Number(size) - entries.length)
    const bundle = (await readTile(db, { level: 'entries', index, width }))!
    for (const entry of decodeEntryBundle(bundle, width)) entries.push(Buffer.from(entry).toString())
  }
  return entries
}

function webSessionOf(person_id: string): WebSessionRow {
  const now = new Date()
  const times = { created_at: now, last_seen_at: now, expires_at: new Date(now.getTime() + 60_000) }
  const token_hash = randomBytes(32)
  return { id: randomUUID(), token_hash, person_id, thumbprint: 'x', address: '127.0.0.1', ...times }
}

function evidence(endpoint_id: string, change: Partial<NewEvidence> = {}): NewEvidence {
  return {
    endpoint_id,
    version: 1,
    sequence: 3,
    basis: 2,
    last_at: inMinutes(-1),
    address: '10.0.0.1',
    observations: '[]',
    attested: null,
    seen: null,
    path: null,
    beacon: null,
    forked_at: null,
    silent: false,
    settled: '{}',
    fallen: '{}',
    fell_at: null,
    changes: '[]',
    ...change,
  }
}

function repeated(endpointId: string, after: number) {
  return {
    endpointId,
    after,
    sequence: after + 1,
    basis: after,
    at: Date.now(),
  }
}
