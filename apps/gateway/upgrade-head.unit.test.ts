import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { GatewayError } from './gateway-error.ts'
import { headForHost, routeTokenOf } from './upgrade-head.ts'

const name = 'Sec-WebSocket-Protocol'

test('the route is found in one line, in several, and in any case of the name', () => {
  expect(routeTokenOf({ rawHeaders: [name, 'trustcast.1,route.a.b'] })).toBe('a.b')
  expect(routeTokenOf({ rawHeaders: [name.toUpperCase(), 'route.a.b', 'X', 'y', name, 'trustcast.1'] })).toBe(
    'a.b',
  )
})

test('any headers give a route or a coded error, and the host never sees a route or a cookie', () => {
  const header = fc.constantFrom(name, 'Cookie', 'cookie', 'Authorization', 'X-Trustcast-Session', 'X-Odd')
  const value = fc.oneof(
    fc.string(),
    fc.constantFrom('trustcast.1', 'route.secret', 'trustcast.1, route.secret'),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(header, value)), (headers) => {
      const head = { method: 'GET', url: '/channel', rawHeaders: headers.flat() }
      try {
        routeTokenOf(head)
      } catch (error) {
        expect(error).toBeInstanceOf(GatewayError)
      }
      const names = headForHost({ ...head, rawHeaders: headers.flatMap(([name]) => [name, 'x']) }, 's1')
        .split('\r\n')
        .map((line) => line.split(':')[0]?.toLowerCase())
      expect(
        names.filter((line) => line === name.toLowerCase() || line === 'x-trustcast-session'),
      ).toHaveLength(2)
      expect(names).not.toContain('cookie')
      expect(names).not.toContain('authorization')
    }),
  )
})

test('all other lines stay as they came, in their order', () => {
  const rawHeaders = ['hOsT', 'g', 'X-A', '1', name, 'trustcast.1, route.r', 'x-a', '2']
  expect(headForHost({ method: 'GET', url: '/channel', rawHeaders }, 's1')).toBe(
    'GET /channel HTTP/1.1\r\nhOsT: g\r\nX-A: 1\r\nx-a: 2\r\nSec-WebSocket-Protocol: trustcast.1\r\nX-Trustcast-Session: s1\r\n\r\n',
  )
})
