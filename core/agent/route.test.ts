import { generateKeyPairSync, sign } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { RouteError, signRoute, verifyRoute } from './route.ts'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const other = generateKeyPairSync('ed25519')
const now = 1_700_000_000_000
const claims = {
  host: '0198c0de-0000-4000-8000-000000000001',
  session: '0198c0de-0000-4000-8000-000000000002',
  exp: now / 1000 + 30,
}

test('a route that one of the keys signed says what was signed', () => {
  expect(verifyRoute(signRoute(claims, privateKey), [other.publicKey, publicKey], now)).toEqual(claims)
})

test('all routes come back as they were signed', () => {
  const expiry = fc.integer({ min: now / 1000 + 1, max: Number.MAX_SAFE_INTEGER })
  fc.assert(
    fc.property(fc.uuid(), fc.uuid(), expiry, (host, session, exp) => {
      const route = { host, session, exp }
      expect(verifyRoute(signRoute(route, privateKey), [publicKey], now)).toEqual(route)
    }),
  )
})

test('a route ends at its second of expiry, not after it', () => {
  const token = signRoute(claims, privateKey)
  expect(verifyRoute(token, [publicKey], claims.exp * 1000 - 1)).toEqual(claims)
  expect(codeOf(token, claims.exp * 1000)).toBe('ROUTE_EXPIRED')
})

test('a route of another key is forged, and without keys every route is', () => {
  expect(codeOf(signRoute(claims, other.privateKey))).toBe('ROUTE_FORGED')
  expect(() => verifyRoute(signRoute(claims, privateKey), [], now)).toThrow(RouteError)
})

test('a signature of the same key over something else is no route', () => {
  const payload = Buffer.from(JSON.stringify([claims.host, claims.session, claims.exp])).toString('base64url')
  const signature = sign(null, Buffer.from(payload), privateKey).toString('base64url')
  expect(codeOf(`${payload}.${signature}`)).toBe('ROUTE_FORGED')
})

test('any text is refused with a code', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 700 }), (text) => {
      expect(['ROUTE_MALFORMED', 'ROUTE_FORGED']).toContain(codeOf(text))
    }),
  )
})

test('one changed character of the payload makes a route worthless', () => {
  const token = signRoute(claims, privateKey)
  const payloadChars = token.indexOf('.')
  fc.assert(
    fc.property(
      fc.nat(payloadChars - 1),
      fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '-', '_'),
      (at, character) => {
        fc.pre(token[at] !== character)
        expect(codeOf(token.slice(0, at) + character + token.slice(at + 1))).toBe('ROUTE_FORGED')
      },
    ),
  )
})

test('a signed payload of another shape is malformed, never a route', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 2 }), (json) => {
      fc.pre(json.length < 250)
      expect(codeOf(signed(json))).toBe('ROUTE_MALFORMED')
    }),
  )
  const { host, session, exp } = claims
  for (const shape of [
    [host, session],
    [host, session, exp, 1],
    [host, 'x', exp],
    [host, session, exp + 0.5],
    [host, session, `${exp}`],
  ])
    expect(codeOf(signed(JSON.stringify(shape)))).toBe('ROUTE_MALFORMED')
})

test('a token that is too long is not even looked at', () => {
  expect(codeOf(signed(JSON.stringify([claims.host, claims.session, claims.exp]).padEnd(400)))).toBe(
    'ROUTE_MALFORMED',
  )
})

function signed(payloadText: string): string {
  const payload = Buffer.from(payloadText).toString('base64url')
  return `${payload}.${sign(null, Buffer.from(`trustcast route 1\n${payload}`), privateKey).toString('base64url')}`
}

function codeOf(token: string, nowMs: number = now): string {
  try {
    verifyRoute(token, [publicKey], nowMs)
  } catch (error) {
    if (error instanceof RouteError) return error.code
    throw error
  }
  return 'accepted'
}
