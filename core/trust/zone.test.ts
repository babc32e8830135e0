import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { AddressError, formatAddress, parseAddress, parseNetwork } from './address.ts'
import { clientAddress, compileZones, placedZone, ZoneError } from './zone.ts'

const zones = compileZones([
  { name: 'campus', kind: 'inside', networks: ['10.0.0.0/8', '2001:db8::/32'] },
  { name: 'guests', kind: 'hostile', networks: ['10.9.0.0/16'] },
])
const proxies = [parseNetwork('127.0.0.0/8'), parseNetwork('::1/128'), parseNetwork('192.0.2.0/24')]

test.each([
  ['10.1.2.3', 'campus'],
  ['10.9.2.3', 'guests'],
  ['::ffff:10.9.2.3', 'guests'],
  ['2001:db8:1::1', 'campus'],
  ['8.8.8.8', undefined],
  ['::', undefined],
])('%s is in zone %s: the longest prefix wins', (address, name) => {
  expect(placedZone(zones, parseAddress(address))?.zone.name).toBe(name)
})

test('a network that stands in two zones is refused', () => {
  const twice = ['a', 'b'].map((name) => ({ name, kind: 'inside' as const, networks: ['10.0.0.0/8'] }))
  expect(() => compileZones(twice)).toThrow(expect.objectContaining({ code: 'ZONE_AMBIGUOUS' }))
})

test('too many networks are refused', () => {
  const networks = Array.from({ length: 5000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`)
  expect(() => compileZones([{ name: 'a', kind: 'inside', networks }])).toThrow(
    expect.objectContaining({ code: 'ZONE_TOO_MANY' }),
  )
})

const client = (peer: string, forwardedFor?: string): string =>
  formatAddress(clientAddress({ peer, forwardedFor }, proxies))

test('the header counts only from a trusted proxy', () => {
  expect(client('203.0.113.9', '10.0.0.1')).toBe('203.0.113.9')
  expect(client('::ffff:127.0.0.1', '10.0.0.1')).toBe('10.0.0.1')
  expect(client('fe80::1%eth0', '10.0.0.1')).toBe('fe80::1')
  expect(client('127.0.0.1')).toBe('127.0.0.1')
})

test('of the header only what trusted proxies wrote counts', () => {
  expect(client('127.0.0.1', '10.0.0.1, 203.0.113.9')).toBe('203.0.113.9')
  expect(client('127.0.0.1', '10.0.0.1, 203.0.113.9, 192.0.2.7')).toBe('203.0.113.9')
  expect(client('127.0.0.1', 'nonsense, 203.0.113.9')).toBe('203.0.113.9')
  expect(client('127.0.0.1', '192.0.2.1, 192.0.2.2')).toBe('192.0.2.1')
})

test.each(['unknown', '10.0.0.1:80', '10.0.0.1,', ',', '10.0.0.1, '.repeat(400)])(
  'a trusted proxy that passes on %j is refused',
  (forwardedFor) => {
    expect(() => client('127.0.0.1', forwardedFor)).toThrow(
      expect.objectContaining({ code: 'FORWARDED_MALFORMED' }),
    )
  },
)

test('no header that a stranger invents moves them, whatever stands in it', () => {
  const header = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.array(fc.ipV4()).map((all) => all.join(',')),
  )
  fc.assert(
    fc.property(fc.ipV4(), header, (address, invented) => {
      const bits = parseAddress(address).bits
      fc.pre(bits >> 24n !== 127n && bits >> 8n !== 0xc00002n)
      expect(client(address, invented)).toBe(address)
      // The proxy appends the address it saw: what the stranger sent before it is not read.
      expect(client('127.0.0.1', `${invented},${address}`)).toBe(address)
    }),
  )
})

test('any peer and header give an address or a coded error', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (peer, forwardedFor) => {
      try {
        clientAddress({ peer, forwardedFor }, proxies)
        clientAddress({ peer: '127.0.0.1', forwardedFor }, proxies)
      } catch (error) {
        expect(error instanceof ZoneError || error instanceof AddressError).toBe(true)
      }
    }),
  )
})
