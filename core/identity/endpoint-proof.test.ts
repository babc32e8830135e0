import { generateKeyPairSync, randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  claimedEndpoint,
  compareExporters,
  makeEndpointProof,
  verifyEndpointProof,
} from './endpoint-proof.ts'

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const endpointId = randomUUID()
const siteId = randomUUID()
const nowMs = 1_900_000_000_000
const proof = 'the.persons.proof'
const made = (change: Partial<Parameters<typeof makeEndpointProof>[0]> = {}): string =>
  makeEndpointProof({ endpointId, siteId, proof, key: keys.privateKey, nowMs, ...change })
const expected = { keys: [keys.publicKey], siteId, proof, nowMs, maxAgeMs: 60_000 }

test('a proof names its endpoint and holds for the request that it was made for', () => {
  expect(claimedEndpoint(made())).toBe(endpointId)
  verifyEndpointProof(made(), expected)
})

test('any key of a certificate that has not expired will do, as at a renewal', () => {
  const next = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const both = { ...expected, keys: [next.publicKey, keys.publicKey] }
  verifyEndpointProof(made(), both)
  verifyEndpointProof(made({ key: next.privateKey }), both)
})

test.each([
  ['of another request', made({ proof: 'another.persons.proof' }), 'ENDPOINT_PROOF_MISMATCH'],
  ['for another site', made({ siteId: randomUUID() }), 'ENDPOINT_PROOF_MISMATCH'],
  ['too old', made({ nowMs: nowMs - 120_000 }), 'ENDPOINT_PROOF_STALE'],
  ['of the future', made({ nowMs: nowMs + 120_000 }), 'ENDPOINT_PROOF_STALE'],
  [
    'by another key',
    made({ key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey }),
    'ENDPOINT_PROOF_FORGED',
  ],
  ['that was altered', withPart(made(), 1, { aud: siteId, ph: 'x', iat: 1 }), 'ENDPOINT_PROOF_FORGED'],
  ['without a signature', made().replace(/[^.]*$/, ''), 'ENDPOINT_PROOF_FORGED'],
  ['of two parts', made().replace(/\.[^.]*$/, ''), 'ENDPOINT_PROOF_MALFORMED'],
  ['that is too long', `${made()}${'A'.repeat(2000)}`, 'ENDPOINT_PROOF_MALFORMED'],
])('a proof %s is refused', (_, token, code) => {
  expect(() => verifyEndpointProof(token, expected)).toThrow(expect.objectContaining({ code }))
})

test('a proof says over which connection it is sent, when the endpoint knows', () => {
  const exporter = 'e'.repeat(43)
  expect(verifyEndpointProof(made(), expected)).toEqual({ exporter: undefined })
  expect(verifyEndpointProof(made({ exporter }), expected)).toEqual({ exporter })
  for (const wrong of ['', 'e'.repeat(42), `${exporter}=`])
    expect(() => verifyEndpointProof(made({ exporter: wrong }), expected)).toThrow(
      expect.objectContaining({ code: 'ENDPOINT_PROOF_MALFORMED' }),
    )
})

test('two ends of one connection say that nobody is between, of two that somebody is, and one end says nothing', () => {
  expect(compareExporters('a', 'a')).toBe('none')
  expect(compareExporters('a', 'b')).toBe('detected')
  expect(compareExporters(undefined, 'b')).toBe('unknown')
  expect(compareExporters('a', undefined)).toBe('unknown')
})

test('nobody is proven while the site knows no key', () => {
  expect(() => verifyEndpointProof(made(), { ...expected, keys: [] })).toThrow(
    expect.objectContaining({ code: 'ENDPOINT_PROOF_FORGED' }),
  )
})

test.each([
  ['of another type', { typ: 'trustcast-proof+jwt', alg: 'ES256', kid: endpointId }],
  ['of no algorithm', { typ: 'trustcast-endpoint+jwt', alg: 'none', kid: endpointId }],
  ['of nobody', { typ: 'trustcast-endpoint+jwt', alg: 'ES256', kid: 'x' }],
  ['with a key of its own', { typ: 'trustcast-endpoint+jwt', alg: 'ES256', kid: endpointId, jwk: {} }],
])('a header %s names no endpoint', (_, header) => {
  expect(() => claimedEndpoint(withPart(made(), 0, header))).toThrow(
    expect.objectContaining({ code: 'ENDPOINT_PROOF_MALFORMED' }),
  )
})

test('arbitrary text is refused with a code', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.base64String().map((text) => `${text}.${text}.${text}`),
      ),
      (token) => {
        for (const read of [() => claimedEndpoint(token), () => verifyEndpointProof(token, expected)])
          expect(read).toThrow(expect.objectContaining({ code: expect.stringMatching(/^ENDPOINT_PROOF_/) }))
      },
    ),
  )
})

function withPart(token: string, index: number, value: object): string {
  return token
    .split('.')
    .with(index, Buffer.from(JSON.stringify(value)).toString('base64url'))
    .join('.')
}
