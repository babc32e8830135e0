import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import {
  type ArrivedAtDevice,
  admit,
  admitDisplay,
  corsHeaders,
  formatLaunchUrl,
  parseLaunchUrl,
} from './index.ts'

const terms = { origin: 'https://work.example:8443', port: 8447 }
const headers = {
  host: '127.0.0.1:8447',
  origin: terms.origin,
  'content-type': 'application/json',
  'content-length': '60',
}
const launch: ArrivedAtDevice = { method: 'POST', path: '/launch', headers }
const code = 'A'.repeat(43)

test("the site's own page may ask for the state and hand over a launch, nothing else", () => {
  expect(admit(launch, terms)).toEqual({ kind: 'launch' })
  expect(admit({ method: 'GET', path: '/status', headers }, terms)).toEqual({ kind: 'status' })
  expect(admit({ ...launch, path: '/display' }, terms)).toEqual({ kind: 'display' })
  for (const [method, path] of [
    ['POST', '/status'],
    ['GET', '/launch'],
    ['GET', '/display'],
    ['GET', '/status?x'],
    ['GET', '/'],
    ['DELETE', '/launch'],
  ] as const)
    expect(() => admit({ method, path, headers }, terms), `${method} ${path}`).toThrow(
      expect.objectContaining({ code: 'DEVICE_NO_ROUTE' }),
    )
})

test.each([
  ['another site', { origin: 'https://evil.example' }],
  ['another port of the same name', { origin: 'https://work.example' }],
  ['the same name without TLS', { origin: 'http://work.example:8443' }],
  ['a longer name', { origin: 'https://work.example:84430' }],
  ['a page without an origin', { origin: 'null' }],
  ['nobody', { origin: undefined }],
])('a page of %s is refused', (_, change) => {
  for (const method of ['POST', 'OPTIONS'])
    expect(() => admit({ ...launch, method, headers: { ...headers, ...change } }, terms)).toThrow(
      expect.objectContaining({ code: 'DEVICE_ORIGIN_REFUSED' }),
    )
})

test.each(['evil.example:8447', '127.0.0.1', '127.0.0.1:80', 'localhost.evil.example:8447', undefined])(
  'a name that was made to point here is refused: %s',
  (host) => {
    expect(() => admit({ ...launch, headers: { ...headers, host } }, terms)).toThrow(
      expect.objectContaining({ code: 'DEVICE_HOST_REFUSED' }),
    )
  },
)

test.each([
  [{ 'content-type': 'text/plain' }, 'DEVICE_NOT_JSON'],
  [{ 'content-type': undefined }, 'DEVICE_NOT_JSON'],
  [{ 'content-length': '1025' }, 'DEVICE_TOO_LARGE'],
  [{ 'content-length': undefined }, 'DEVICE_TOO_LARGE'],
  [{ 'content-length': '-1' }, 'DEVICE_TOO_LARGE'],
])('a body that is not ours is refused before it is read: %j', (change, expected) => {
  expect(() => admit({ ...launch, headers: { ...headers, ...change } }, terms)).toThrow(
    expect.objectContaining({ code: expected }),
  )
})

test('a preflight is answered for what exists, with leave for private networks only when that is asked', () => {
  const ask = { ...headers, 'access-control-request-method': 'POST' }
  const asked = { method: 'OPTIONS', path: '/launch', headers: ask }
  expect(admit(asked, terms)).toEqual({ kind: 'preflight' })
  expect(corsHeaders(asked, terms, true)).not.toHaveProperty('access-control-allow-private-network')
  const privately = { ...asked, headers: { ...ask, 'access-control-request-private-network': 'true' } }
  expect(corsHeaders(privately, terms, true)).toMatchObject({
    'access-control-allow-origin': terms.origin,
    'access-control-allow-private-network': 'true',
  })
  expect(() =>
    admit({ ...asked, headers: { ...ask, 'access-control-request-method': 'PUT' } }, terms),
  ).toThrow(expect.objectContaining({ code: 'DEVICE_NO_ROUTE' }))
})

test('only the very origin is ever admitted, whatever else a request says', () => {
  const text = fc.oneof(fc.string(), fc.webUrl(), fc.constantFrom(...Object.values(headers), terms.origin))
  const arrived = fc.record({
    method: fc.constantFrom('GET', 'POST', 'OPTIONS', 'PUT'),
    path: fc.oneof(fc.constantFrom('/launch', '/status'), fc.string()),
    headers: fc.dictionary(fc.constantFrom(...Object.keys(headers), 'access-control-request-method'), text),
  })
  fc.assert(
    fc.property(arrived, (request) => {
      try {
        admit(request, terms)
      } catch (error) {
        expect(isCoded(error)).toBe(true)
        return
      }
      expect(request.headers['origin']).toBe(terms.origin)
      expect(['127.0.0.1:8447', 'localhost:8447']).toContain(request.headers['host']?.toLowerCase())
    }),
  )
})

const display: ArrivedAtDevice = {
  method: 'GET',
  path: '/display',
  headers: { ...headers, 'sec-websocket-protocol': `trustcast.display, ticket.${code}` },
}

test("a WebSocket of the site's own page is let in with the one ticket that it brings", () => {
  expect(admitDisplay(display, terms)).toBe(code)
  expect(() => admit(display, terms)).toThrow(expect.objectContaining({ code: 'DEVICE_NO_ROUTE' }))
})

test.each<[string, string, Partial<ArrivedAtDevice>, Readonly<Record<string, string | undefined>>]>([
  ['of another site', 'DEVICE_ORIGIN_REFUSED', {}, { origin: 'https://evil.example' }],
  ['of nobody', 'DEVICE_ORIGIN_REFUSED', {}, { origin: undefined }],
  ['to a name that was made to point here', 'DEVICE_HOST_REFUSED', {}, { host: 'evil.example:8447' }],
  ['to another path', 'DEVICE_NO_ROUTE', { path: '/status' }, {}],
  ['by another method', 'DEVICE_NO_ROUTE', { method: 'POST' }, {}],
  ['without a ticket', 'DEVICE_NO_TICKET', {}, { 'sec-websocket-protocol': 'trustcast.display' }],
  ['without subprotocols', 'DEVICE_NO_TICKET', {}, { 'sec-websocket-protocol': undefined }],
  ['of another protocol', 'DEVICE_NO_TICKET', {}, { 'sec-websocket-protocol': `binary, ticket.${code}` }],
  [
    'with two tickets',
    'DEVICE_NO_TICKET',
    {},
    { 'sec-websocket-protocol': `trustcast.display, ticket.${code}, ticket.${code}` },
  ],
])('a WebSocket %s is refused', (_, expected, change, more) => {
  const request = { ...display, ...change, headers: { ...display.headers, ...more } }
  expect(() => admitDisplay(request, terms)).toThrow(expect.objectContaining({ code: expected }))
})

test('an address that was made is read again', () => {
  const url = { site: terms.origin, code }
  expect(parseLaunchUrl(formatLaunchUrl(url))).toEqual(url)
  // Desktops put a slash behind the host.
  expect(parseLaunchUrl(formatLaunchUrl(url).replace('launch?', 'launch/?'))).toEqual(url)
})

test.each([
  'https://launch?site=https%3A%2F%2Fwork.example&code=x',
  `trustcast://open?site=https%3A%2F%2Fwork.example&code=${code}`,
  `trustcast://launch/x?site=https%3A%2F%2Fwork.example&code=${code}`,
  `trustcast://u:p@launch?site=https%3A%2F%2Fwork.example&code=${code}`,
  `trustcast://launch?site=http%3A%2F%2Fwork.example&code=${code}`,
  `trustcast://launch?site=https%3A%2F%2Fwork.example%2Fpath&code=${code}`,
  `trustcast://launch?site=https%3A%2F%2Fwork.example&code=${code}&code=${code}`,
  `trustcast://launch?site=https%3A%2F%2Fwork.example&code=short`,
  `trustcast://launch?site=https%3A%2F%2Fwork.example`,
  '--help',
  '',
])('what is no such address is refused: %s', (text) => {
  expect(() => parseLaunchUrl(text)).toThrow(expect.objectContaining({ code: 'DEVICE_URL_MALFORMED' }))
})

test('arbitrary text is an address of a code and an origin, or refused', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 600 }),
    fc.tuple(fc.string(), fc.string()).map(([site, code]) => formatLaunchUrl({ site, code })),
  )
  fc.assert(
    fc.property(text, (text) => {
      try {
        const { site, code } = parseLaunchUrl(text)
        expect(code).toMatch(/^[A-Za-z0-9_-]{43}$/)
        expect(new URL(site).origin).toBe(site)
      } catch (error) {
        expect(error).toMatchObject({ code: 'DEVICE_URL_MALFORMED' })
      }
    }),
  )
})
