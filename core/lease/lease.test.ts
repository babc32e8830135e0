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
