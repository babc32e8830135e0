import { randomUUID } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import { beforeEach, describe, expect, test } from 'vitest'
import { type Obligations } from '#core/trust/words.ts'
import { type Db, isAway, migrate, placeSession } from './index.ts'
import { up as createSite } from './migrations/0001-site.ts'
import { up as addEndpoints } from './migrations/0005-endpoints.ts'
import { addPerson, type StoreUnderTest, sessionOf } from './store-under-test.rig.ts'

/** How a database comes to this version. */
export function migrationsContract(store: StoreUnderTest): void {
  describe('migrations', () => {
    let db: Db

    beforeEach(async () => {
      ;({ db } = store)
    })

    test('run once, however often they are asked for', async () => {
      expect(await migrate(store.server.address)).toEqual(
        expect.arrayContaining(['0001-site', '0005-endpoints']),
      )
      expect(await migrate(store.server.address)).toEqual([])
    })

    test('run once when two nodes start together', async () => {
      const done = await Promise.all([migrate(store.server.address), migrate(store.server.address)])
      expect(done.filter((names) => names.length > 0)).toHaveLength(1)
    })

    test('what was decided before a word was there has its default', async () => {
      await createSite(db as unknown as Kysely<unknown>)
      const hostId = randomUUID()
      // As it was written then: later words of a host have no column yet.
      await sql`insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, capacity, report)
        values (${hostId}, 'host', 'old', '{}', 'default', now() + interval '1 hour', 1, '{}')`.execute(db)
      const session = sessionOf(await addPerson(db), hostId)
      const { leaseMinutes: _, overlay: __, ...obligations } = JSON.parse(session.obligations) as Obligations
      await placeSession(db, { ...session, obligations: JSON.stringify(obligations) })
      await addEndpoints(db as unknown as Kysely<unknown>)
      const [row] = await db.selectFrom('sessions').select('obligations').execute()
      expect(row?.obligations).toMatchObject({ leaseMinutes: 15, overlay: 'discard', sessionMinutes: 60 })
    })

    test('refuse a database that a newer version has used', async () => {
      await migrate(store.server.address)
      await sql`insert into kysely_migration (name, timestamp) values ('9999-later', '2031-01-01')`.execute(
        db,
      )
      const error: unknown = await migrate(store.server.address).catch((error: unknown) => error)
      expect(error).toMatchObject({
        code: 'STORE_MIGRATION_FAILED',
        message: expect.stringContaining('9999-later'),
      })
      expect(isAway(error)).toBe(false)
    })
  })
}
