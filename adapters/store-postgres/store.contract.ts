import { randomUUID } from 'node:crypto'
import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { auditContract } from './audit.contract.ts'
import { deletionContract } from './deletion.contract.ts'
import { deviceKeysContract } from './device-keys.contract.ts'
import { evidenceContract } from './evidence.contract.ts'
import { type Db, type Hint, isAway, migrate, openStore, placeSession, type Store } from './index.ts'
import { leasesContract } from './leases.contract.ts'
import { migrationsContract } from './migrate.contract.ts'
import { replicasContract } from './replicas.contract.ts'
import { sessionsContract } from './sessions.contract.ts'
import { settingsContract } from './settings.contract.ts'
import {
  addHost,
  addPerson,
  backends,
  failureOf,
  personOf,
  type StoreUnderTest,
  sessionOf,
  type TestServer,
} from './store-under-test.rig.ts'
import { ticketsContract } from './tickets.contract.ts'
import { webSessionsContract } from './web-sessions.contract.ts'

const areas = [
  migrationsContract,
  webSessionsContract,
  sessionsContract,
  ticketsContract,
  settingsContract,
  leasesContract,
  replicasContract,
  deviceKeysContract,
  evidenceContract,
  deletionContract,
  auditContract,
] as const

/** What the store promises on every PostgreSQL. */
export function storeContract(name: string, startServer: () => Promise<TestServer>): void {
  describe(name, () => {
    let server: TestServer
    const stores: Store[] = []
    const listening: AbortController[] = []
    /** Two site nodes. */
    let db: Db
    let other: Db

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

    const store: StoreUnderTest = {
      get server() {
        return server
      },
      get db() {
        return db
      },
      get other() {
        return other
      },
      open,
    }
    for (const contract of areas) contract(store)

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
  })
}

/** A node that listens; `next` takes the hints heard so far up to the next of a topic, waiting for it if need be. */
export function listen(listening: AbortController[], store: Store) {
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
