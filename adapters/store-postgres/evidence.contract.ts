import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  countFallen,
  type Db,
  endAlarm,
  endSession,
  evidenceOf,
  lastAlarm,
  livingAgents,
  migrate,
  openAlarms,
  placeSession,
  putStatements,
  quietEndpoints,
  raiseAlarm,
  recordRepeatedEvidence,
  revokeAgent,
  statementsOf,
  writeEvidence,
} from './index.ts'
import {
  addEndpoint,
  addHost,
  addPerson,
  endOf,
  evidence,
  inMinutes,
  repeated,
  type StoreUnderTest,
  sessionOf,
} from './store-under-test.rig.ts'

/** What is known of endpoints, and the alarms about them. */
export function evidenceContract(store: StoreUnderTest): void {
  describe('evidence and alarms', () => {
    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
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
}
