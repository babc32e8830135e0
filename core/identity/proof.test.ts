import { createHash, createPublicKey, verify } from 'node:crypto'
import * as fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { exportProofKey, makeProof, ProofError, type ProofKeyPair, thumbprint, verifyProof } from './proof.ts'

const nowMs = 1_790_000_000_000
const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const request = { method: 'POST', path: '/api/v1/launches?x=1', body: text('{"a":1}') }
const random = new Uint8Array(16).fill(7)

let keyPair: ProofKeyPair
let token: string

beforeAll(async () => {
  keyPair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
  token = await makeProof({ ...request, keyPair, nowMs, random })
})

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'accepted'
  } catch (error) {
    if (error instanceof ProofError) return error.code
    throw error
  }
}

const check = (value: string, changes: object = {}): Promise<string> =>
  codeOf(verifyProof(value, { ...request, nowMs, maxAgeMs: 60_000, ...changes }))

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

async function signed(header: unknown, payload: unknown): Promise<string> {
  const bytes = text(`${encode(header)}.${encode(payload)}`)
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    keyPair.privateKey,
    new Uint8Array(bytes),
  )
  return `${encode(header)}.${encode(payload)}.${Buffer.from(signature).toString('base64url')}`
}

test('a proof of this request is accepted and names its key and its jti', async () => {
  const proof = await verifyProof(token, { ...request, nowMs, maxAgeMs: 60_000 })
  expect(proof.thumbprint).toBe(await thumbprint(await exportProofKey(keyPair.publicKey)))
  expect(proof.jti).toBe('BwcHBwcHBwcHBwcHBwcHBw')
})

test('an implementation of JWS that is not ours accepts the signature', async () => {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const key = createPublicKey({ key: { ...(await exportProofKey(keyPair.publicKey)) }, format: 'jwk' })
  const raw = { key, dsaEncoding: 'ieee-p1363' } as const
  expect(verify('sha256', text(`${header}.${payload}`), raw, Buffer.from(signature, 'base64url'))).toBe(true)
})

test('the thumbprint hashes the required members in lexical order (RFC 7638, 3)', async () => {
  const { x, y } = await exportProofKey(keyPair.publicKey)
  const canonical = `{"crv":"P-256","kty":"EC","x":"${x}","y":"${y}"}`
  expect(await thumbprint({ y, x, kty: 'EC', crv: 'P-256' })).toBe(
    createHash('sha256').update(canonical).digest('base64url'),
  )
})

test('another method, path, query or body is a mismatch', async () => {
  expect(await check(token, { method: 'PUT' })).toBe('PROOF_MISMATCH')
  expect(await check(token, { path: '/api/v1/launches?x=2' })).toBe('PROOF_MISMATCH')
  expect(await check(token, { body: text('{"a":2}') })).toBe('PROOF_MISMATCH')
  expect(await check(token, { body: new Uint8Array() })).toBe('PROOF_MISMATCH')
})

test('a proof lives for its age in both directions, no longer', async () => {
  expect(await check(token, { nowMs: nowMs + 60_000 })).toBe('accepted')
  expect(await check(token, { nowMs: nowMs + 61_000 })).toBe('PROOF_STALE')
  expect(await check(token, { nowMs: nowMs - 61_000 })).toBe('PROOF_STALE')
})

test('a changed payload, and a key swapped into the header, are forged', async () => {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
  expect(await check(`${header}.${encode({ ...claims, iat: 1 })}.${signature}`)).toBe('PROOF_FORGED')

  const other = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, [
    'sign',
    'verify',
  ])
  const jwk = await exportProofKey(other.publicKey)
  const swapped = encode({ typ: 'trustcast-proof+jwt', alg: 'ES256', jwk })
  expect(await check(`${swapped}.${payload}.${signature}`)).toBe('PROOF_FORGED')
})

test('headers and payloads that say less or more than ours are malformed although they are signed', async () => {
  const jwk = await exportProofKey(keyPair.publicKey)
  const header = { typ: 'trustcast-proof+jwt', alg: 'ES256', jwk }
  const payload = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<
    string,
    unknown
  >
  expect(await check(await signed(header, payload))).toBe('accepted')
  for (const bad of [
    { ...header, alg: 'none' },
    { ...header, typ: 'JWT' },
    { ...header, crit: ['b64'] },
    { ...header, jwk: { ...jwk, d: 'AA' } },
    { ...header, jwk: { ...jwk, x: jwk.y } },
    { ...header, jwk: null },
    [],
  ]) {
    expect(await check(await signed(bad, payload))).toBe('PROOF_MALFORMED')
  }
  for (const bad of [
    { ...payload, jti: 'short' },
    { ...payload, iat: '1' },
    { ...payload, more: 1 },
    {},
    1,
  ]) {
    expect(await check(await signed(header, bad))).toBe('PROOF_MALFORMED')
  }
})

test('any text is refused with a code', async () => {
  const parts = token.split('.')
  const mangled = fc
    .tuple(fc.nat(2), fc.nat(500), fc.string({ maxLength: 4 }))
    .map(([part, at, put]) =>
      parts
        .map((text, index) => (index === part ? text.slice(0, at) + put + text.slice(at + 1) : text))
        .join('.'),
    )
    .filter((value) => value !== token)
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string({ maxLength: 6000 }), mangled), async (value) => {
      expect(await check(value)).toMatch(/^PROOF_(MALFORMED|FORGED)$/)
    }),
    { numRuns: 300 },
  )
})

test('every request that was proven verifies, whatever its path and body', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ maxLength: 500 }), fc.uint8Array({ maxLength: 500 }), async (path, body) => {
      const proven = { method: 'PUT', path, body }
      const value = await makeProof({ ...proven, keyPair, nowMs, random })
      await verifyProof(value, { ...proven, nowMs, maxAgeMs: 1000 })
    }),
    { numRuns: 50 },
  )
})
