import { generateKeyPairSync, randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { acceptRelease } from './accept.ts'
import { type ExpectedDirection, signDirection, verifyDirection } from './direction.ts'
import type { SignedRelease } from './propose-release.ts'
import { codeOf, start } from './release.fixture.ts'

const director = generateKeyPairSync('ed25519')
const nonce = randomBytes(32).toString('base64url')
const release: SignedRelease = {
  name: 'debian',
  version: '2',
  contentVersion: '2',
  counter: 2,
  manifestDigest: 'ab'.repeat(32),
  manifestBytes: 300,
}
const said = {
  site: 'site-1',
  endpoint: 'endpoint-1',
  nonce,
  name: 'debian',
  version: '2',
  counter: 2,
  manifestDigest: release.manifestDigest,
  channel: 'production',
  issuedAtMs: start,
  expiresAtMs: start + 60_000,
}
const expected: ExpectedDirection = {
  publicKey: director.publicKey,
  siteId: 'site-1',
  endpointId: 'endpoint-1',
  nonce,
  nowMs: start + 1000,
}
const bytes = signDirection(director.privateKey, said)
const direction = verifyDirection(bytes, expected)

test('a direction says which release an endpoint uses', () => {
  expect(direction).toMatchObject({ name: 'debian', version: '2', counter: 2, channel: 'production' })
  expect(acceptRelease({ direction, release, floor: 1 })).toEqual({ release, floor: 2 })
  expect(acceptRelease({ direction, release, floor: 2 }).floor).toBe(2)
})

test.each<[string, Partial<ExpectedDirection>, string]>([
  ['another nonce', { nonce: randomBytes(32).toString('base64url') }, 'RELEASE_DIRECTION_STALE'],
  ['a time that is up', { nowMs: start + 60_000 }, 'RELEASE_DIRECTION_STALE'],
  ['another endpoint', { endpointId: 'endpoint-2' }, 'RELEASE_NOT_DIRECTED'],
  ['another site', { siteId: 'site-2' }, 'RELEASE_NOT_DIRECTED'],
  ['another director', { publicKey: generateKeyPairSync('ed25519').publicKey }, 'RELEASE_NOT_DIRECTED'],
])('a direction for %s is refused', async (_, other, code) => {
  expect(await codeOf(() => verifyDirection(bytes, { ...expected, ...other }))).toBe(code)
})

test.each<[string, Partial<SignedRelease> | undefined, number, string]>([
  ['nothing that is signed', undefined, 0, 'RELEASE_NOT_SIGNED'],
  ['another manifest than the signed one', { manifestDigest: 'cd'.repeat(32) }, 0, 'RELEASE_NOT_SIGNED'],
  ['another counter than the signed one', { counter: 3 }, 0, 'RELEASE_NOT_SIGNED'],
  ['another version', { version: '1' }, 0, 'RELEASE_NOT_SIGNED'],
  ['another image', { name: 'ubuntu' }, 0, 'RELEASE_NOT_SIGNED'],
  ['an older release than was accepted', {}, 3, 'RELEASE_ROLLBACK'],
])('a direction to %s is refused', async (_, other, floor, code) => {
  const signed = other && { ...release, ...other }
  expect(await codeOf(() => acceptRelease({ direction, release: signed, floor }))).toBe(code)
})

test('no changed byte of a direction is accepted', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const mutated = Uint8Array.from(bytes, (byte, index) => (index === at ? byte ^ flip : byte))
      expect(await codeOf(() => verifyDirection(mutated, expected))).toMatch(/^RELEASE_/)
    }),
    { numRuns: 1000 },
  )
})

test('any bytes are refused with a code', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), async (noise) => {
      expect(await codeOf(() => verifyDirection(noise, expected))).toBe('RELEASE_MALFORMED')
    }),
  )
})

test('a direction without a signature is refused', async () => {
  const unsigned = Buffer.from(
    Buffer.from(bytes)
      .toString()
      .replace(/"signatures":\[.*?\]/, '"signatures":[]'),
  )
  expect(await codeOf(() => verifyDirection(unsigned, expected))).toBe('RELEASE_MALFORMED')
})
