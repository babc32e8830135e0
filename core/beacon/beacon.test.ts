import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  answerRound,
  type BeaconStatement,
  checkRound,
  decodeBytes,
  keyThumbprint,
  makeBeaconStatement,
  verifyBeacon,
} from './index.ts'

const beacon = generateKeyPairSync('ed25519')
const endpoint = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const statement: BeaconStatement = {
  nonce: randomBytes(32).toString('base64url'),
  endpoint: randomUUID(),
  thumbprint: keyThumbprint(endpoint.publicKey),
  rttMs: 0.8,
  at: 1_900_000_000_000,
}
const expected = {
  nonce: statement.nonce,
  endpointId: statement.endpoint,
  thumbprints: [statement.thumbprint],
  key: beacon.publicKey.export({ format: 'jwk' }).x ?? '',
  maxRttMs: 3,
  nowMs: statement.at,
}
const made = (change: Partial<BeaconStatement> = {}): string =>
  makeBeaconStatement({ ...statement, ...change }, beacon.privateKey)

test('what a beacon says of an endpoint that is near holds', () => {
  expect(verifyBeacon(made(), expected)).toEqual(statement)
})

test.each([
  [
    'by another beacon',
    makeBeaconStatement(statement, generateKeyPairSync('ed25519').privateKey),
    'BEACON_FORGED',
  ],
  [
    'that was altered',
    made().replace(/\.[^.]+\./, `.${Buffer.from('{}').toString('base64url')}.`),
    'BEACON_FORGED',
  ],
  ['for another nonce', made({ nonce: randomBytes(32).toString('base64url') }), 'BEACON_REPLAYED'],
  ['about another endpoint', made({ endpoint: randomUUID() }), 'BEACON_OTHER_ENDPOINT'],
  ['about another key', made({ thumbprint: randomBytes(32).toString('base64url') }), 'BEACON_OTHER_ENDPOINT'],
  ['that is old', made({ at: statement.at - 300_000 }), 'BEACON_STALE'],
  ['of the future', made({ at: statement.at + 300_000 }), 'BEACON_STALE'],
  ['of somebody far away', made({ rttMs: 3.001 }), 'BEACON_RELAYED'],
  ['of somebody before the question', made({ rttMs: -1 }), 'BEACON_MALFORMED'],
  ['of no time', made({ rttMs: Number.NaN }), 'BEACON_MALFORMED'],
  ['that is too long', `${made()}${'A'.repeat(2000)}`, 'BEACON_MALFORMED'],
])('a statement %s does not', (_, token, code) => {
  expect(() => verifyBeacon(token, expected)).toThrow(expect.objectContaining({ code }))
})

test('arbitrary text is refused with a code', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.base64String().map((text) => `${text}.${text}.${text}`),
        fc.jsonValue().map((value) => `${Buffer.from(JSON.stringify(value)).toString('base64url')}.e30.AA`),
      ),
      (token) => {
        expect(() => verifyBeacon(token, expected)).toThrow(
          expect.objectContaining({ code: expect.stringMatching(/^BEACON_/) }),
        )
      },
    ),
  )
})

test('an answer holds for its round and no other, and only from the key', () => {
  const [nonce, challenge] = [randomBytes(32), randomBytes(32)]
  const answer = answerRound(nonce, challenge, endpoint.privateKey)
  checkRound({ nonce, challenge }, answer, endpoint.publicKey)
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  for (const [round, by] of [
    [{ nonce, challenge: randomBytes(32) }, endpoint.publicKey],
    [{ nonce: randomBytes(32), challenge }, endpoint.publicKey],
    [{ nonce, challenge }, other],
  ] as const)
    expect(() => checkRound(round, answer, by)).toThrow(expect.objectContaining({ code: 'BEACON_UNPROVEN' }))
})

test('lines are bytes of the wanted length or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.integer({ min: 0, max: 64 }), (bytes, length) => {
      const line = Buffer.from(bytes).toString('base64url')
      if (bytes.length === length) expect(Buffer.from(decodeBytes(line, length))).toEqual(Buffer.from(bytes))
      else
        expect(() => decodeBytes(line, length)).toThrow(expect.objectContaining({ code: 'BEACON_MALFORMED' }))
    }),
  )
})
