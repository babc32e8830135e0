import { randomBytes, randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { exportPublic, generateX25519 } from '#core/channel/index.ts'
import {
  decryptImageKey,
  encryptImageKey,
  isRenewalDue,
  leaseUntil,
  sealImageKey,
  unsealImageKey,
} from './index.ts'

const minute = 60_000

test('a lease never outlives its session and is never longer than its obligation says', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 1440 }), fc.nat(), (now, leaseMinutes, left) => {
      const until = leaseUntil(now, { leaseMinutes }, now + left)
      expect(until).toBeLessThanOrEqual(now + left)
      expect(until - now).toBeLessThanOrEqual(leaseMinutes * minute)
    }),
  )
})

test.each([
  ['fresh: wait', 0, 15, 15.1, false],
  ['a third has passed: renew', 0, 9.9, 15, true],
  ['the session ends with it: nothing to gain', 0, 5, 5, false],
  ['the policy has made it shorter: at once', 0, 14, 2, true],
])('%s', (_, now, expires, until, due) => {
  expect(isRenewalDue(now * minute, expires * minute, until * minute, { leaseMinutes: 15 })).toBe(due)
})

test('a sealed key opens for its endpoint under its lease alone', async () => {
  const [mine, other] = [await generateX25519(), await generateX25519()]
  const key = randomBytes(32)
  const sealedFor = { leaseId: randomUUID(), endpointId: randomUUID() }
  const sealed = await sealImageKey(await exportPublic(mine.publicKey), key, sealedFor)
  expect(Buffer.from(await unsealImageKey(mine, sealed, sealedFor))).toEqual(key)
  const refused = { code: 'LEASE_KEY_UNREADABLE' }
  await expect(unsealImageKey(other, sealed, sealedFor)).rejects.toMatchObject(refused)
  for (const change of [{ leaseId: randomUUID() }, { endpointId: randomUUID() }])
    await expect(unsealImageKey(mine, sealed, { ...sealedFor, ...change })).rejects.toMatchObject(refused)
  await expect(unsealImageKey(mine, sealed.subarray(1), sealedFor)).rejects.toMatchObject(refused)
  const short = await sealImageKey(await exportPublic(mine.publicKey), key.subarray(1), sealedFor)
  await expect(unsealImageKey(mine, short, sealedFor)).rejects.toMatchObject(refused)
})

/** The same bytes with some of them exchanged, or cut off, or with more behind them. */
const mutated = (bytes: Uint8Array): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
      const changed = Uint8Array.from(bytes)
      changed[at]! ^= bits
      return changed
    }),
    fc.nat(bytes.length - 1).map((end) => bytes.slice(0, end)),
    fc.uint8Array({ minLength: 1, maxLength: 40 }).map((more) => Buffer.concat([bytes, more])),
  )

test('a sealed or stored key with any change opens for nobody', async () => {
  const [mine, key, secret] = [await generateX25519(), randomBytes(32), randomBytes(32)]
  const sealedFor = { leaseId: randomUUID(), endpointId: randomUUID() }
  const sealed = await sealImageKey(await exportPublic(mine.publicKey), key, sealedFor)
  await fc.assert(
    fc.asyncProperty(mutated(sealed), async (changed) => {
      await expect(unsealImageKey(mine, changed, sealedFor)).rejects.toMatchObject({
        code: 'LEASE_KEY_UNREADABLE',
        remedy: expect.any(String),
      })
    }),
  )
  fc.assert(
    fc.property(mutated(encryptImageKey(secret, 'office', key, randomBytes(12))), (changed) => {
      expect(() => decryptImageKey(secret, 'office', changed)).toThrow(
        expect.objectContaining({ code: 'LEASE_SECRET_UNUSABLE', remedy: expect.any(String) }),
      )
    }),
  )
})

test('a stored key is bound to its image and to the secret of the site', () => {
  const [secret, key] = [randomBytes(32), randomBytes(32)]
  const stored = encryptImageKey(secret, 'office', key, randomBytes(12))
  expect(stored.includes(key)).toBe(false)
  expect(decryptImageKey(secret, 'office', stored)).toEqual(key)
  const refused = expect.objectContaining({ code: 'LEASE_SECRET_UNUSABLE' })
  expect(() => decryptImageKey(secret, 'payroll', stored)).toThrow(refused)
  expect(() => decryptImageKey(randomBytes(32), 'office', stored)).toThrow(refused)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (junk) => {
      expect(() => decryptImageKey(secret, 'office', junk)).toThrow(refused)
    }),
  )
})
