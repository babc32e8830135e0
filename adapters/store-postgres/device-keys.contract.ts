import { randomBytes, randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  addEndpointKey,
  countOpenHandoffs,
  type Db,
  depositImageKey,
  endpointKeys,
  imageKey,
  imagesWithKey,
  insertEnrolmentRequest,
  insertEnrolmentToken,
  insertHandoff,
  insertTpmChallenge,
  insertWebSession,
  migrate,
} from './index.ts'
import {
  addEndpoint,
  addPerson,
  atOnce,
  inMinutes,
  type StoreUnderTest,
  webSessionOf,
} from './store-under-test.rig.ts'

/** Keys of endpoints and of images. */
export function deviceKeysContract(store: StoreUnderTest): void {
  describe('keys of endpoints and images', () => {
    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
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

    test('of codes, challenges and machines that wait there are no more than may be, however many ask at once', async () => {
      const [made_at, expires_at] = [new Date(), inMinutes(1)]
      const web = webSessionOf(await addPerson(db))
      await insertWebSession(db, web, null)
      const of = { person_id: web.person_id, web_session_id: web.id, workspace_id: null, endpoint_id: null }
      const handoff = { ...of, switch: false, made_at, expires_at }
      const codes = await atOnce(store, (from) =>
        insertHandoff(from, { ...handoff, code_hash: randomBytes(32) }, 5),
      )
      expect(codes.filter(Boolean)).toHaveLength(5)
      expect(await countOpenHandoffs(db, web.id, made_at)).toBe(5)

      const secret_hash = randomBytes(32)
      const token = { kind: 'endpoint' as const, name: 'e', dns_names: [], pool: 'default', expires_at }
      await insertEnrolmentToken(db, { ...token, secret_hash })
      const proven = { request_hash: secret_hash, ak_public: secret_hash, ek_fingerprint: 'x' }
      const challenge = { ...proven, token_hash: secret_hash, secret_hash, expires_at }
      const challenges = await atOnce(store, (from) =>
        insertTpmChallenge(from, { ...challenge, id: randomUUID() }, made_at),
      )
      expect(challenges.filter(Boolean)).toHaveLength(5)

      const waiting = { name: 'm', address: '127.0.0.1', state: 'waiting' as const, requested_at: made_at }
      const ask = (from: Db, source: string) => {
        const row = { ...waiting, id: randomUUID(), code: randomUUID(), source, expires_at }
        const most = { fromSource: 3, inAll: 5 }
        return insertEnrolmentRequest(from, { ...row, secret_hash: randomBytes(32) }, most)
      }
      const [one, two] = [
        await atOnce(store, (from) => ask(from, 'a')),
        await atOnce(store, (from) => ask(from, 'b')),
      ]
      expect(one.filter((answer) => answer === 'stored')).toHaveLength(3)
      expect(two.filter((answer) => answer === 'stored')).toHaveLength(2)
    })
  })
}
