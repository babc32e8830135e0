import { isIP } from 'node:net'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { AddressError, contains, formatAddress, parseAddress, parseNetwork } from './address.ts'

test.each([
  ['0.0.0.0', 4, 0n],
  ['10.1.2.3', 4, 0x0a010203n],
  ['::', 6, 0n],
  ['::1', 6, 1n],
  ['2001:db8::1', 6, 0x20010db8000000000000000000000001n],
  ['1:2:3:4:5:6:7::', 6, 0x00010002000300040005000600070000n],
  ['::ffff:10.1.2.3', 4, 0x0a010203n],
  ['::FFFF:a01:203', 4, 0x0a010203n],
  ['64:ff9b::10.1.2.3', 6, 0x0064ff9b00000000000000000a010203n],
])('%s is an address', (text, family, bits) => {
  expect(parseAddress(text)).toEqual({ family, bits })
})

test.each([
  '',
  '1.2.3',
  '1.2.3.256',
  '01.2.3.4',
  '1.2.3.4 ',
  '1.2.3.4:80',
  '0x7f.1',
  ':::',
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  '::12345',
  '1.2.3.4::',
  'fe80::1%eth0',
  '[::1]',
  `::${'0'.repeat(60)}`,
])('%j is no address', (text) => {
  expect(() => parseAddress(text)).toThrow(AddressError)
})

test('addresses are what Node takes for addresses, and are written so that they read back alike', () => {
  const near = fc.array(fc.constantFrom('0', '1', 'f', ':', '::', '.', '25', 'ffff'), { maxLength: 17 })
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV4(),
        fc.ipV6(),
        near.map((parts) => parts.join('')),
      ),
      (text) => {
        if (isIP(text) === 0) {
          expect(() => parseAddress(text)).toThrow(AddressError)
          return
        }
        const address = parseAddress(text)
        const written = formatAddress(address)
        expect(isIP(written)).toBe(address.family)
        expect(parseAddress(written)).toEqual(address)
      },
    ),
    { numRuns: 2000 },
  )
})

test.each([
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['10:0:0:0:0:0:0:100', '10::100'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
])('%s is written %s (RFC 5952)', (text, written) => {
  expect(formatAddress(parseAddress(text))).toBe(written)
})

test.each([
  '10.0.0.0',
  '10.0.0.1/8',
  '10.0.0.0/33',
  '10.0.0.0/08',
  '::/129',
  '::ffff:0:0/95',
  '/8',
  '1.2.3.4/-1',
])('%s is no network', (text) => {
  expect(() => parseNetwork(text)).toThrow(AddressError)
})

test('a network holds exactly the addresses with its prefix', () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.ipV4(), fc.integer({ min: 0, max: 32 }), (inside, other, prefix) => {
      const { bits } = parseAddress(inside)
      const mask = (0xffffffffn << BigInt(32 - prefix)) & 0xffffffffn
      const network = parseNetwork(`${formatAddress({ family: 4, bits: bits & mask })}/${prefix}`)
      expect(contains(network, parseAddress(inside))).toBe(true)
      expect(contains(network, parseAddress(other))).toBe((parseAddress(other).bits & mask) === (bits & mask))
    }),
  )
})

test('an IPv6 network never holds an IPv4 address, written either way', () => {
  expect(contains(parseNetwork('::/0'), parseAddress('10.0.0.1'))).toBe(false)
  expect(contains(parseNetwork('::/0'), parseAddress('::ffff:10.0.0.1'))).toBe(false)
  expect(contains(parseNetwork('::ffff:10.0.0.0/104'), parseAddress('10.0.0.1'))).toBe(true)
})
