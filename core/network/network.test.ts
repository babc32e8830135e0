import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  captivePortalUri,
  type DhcpMessage,
  decodeAddresses,
  decodeClasslessRoutes,
  decodeDhcp,
  encodeDhcp,
  gatewaysIn,
  judgeGateway,
  judgeOffers,
  judgeRoutes,
  type Link,
  type Offer,
  type PushedRoute,
  parseArping,
  parseLinks,
  parseNeighbours,
  parseResolvConf,
  parseRoutes,
  type Route,
  rememberGateway,
} from './index.ts'

const quad = fc.ipV4()
const message: fc.Arbitrary<DhcpMessage> = fc.record({
  op: fc.constantFrom(1 as const, 2 as const),
  xid: fc.nat(0xffffffff),
  flags: fc.nat(0xffff),
  ciaddr: quad,
  yiaddr: quad,
  siaddr: quad,
  giaddr: quad,
  chaddr: fc.uint8Array({ minLength: 6, maxLength: 6 }),
  options: fc
    .array(fc.tuple(fc.integer({ min: 1, max: 254 }), fc.uint8Array({ maxLength: 60 })), { maxLength: 15 })
    .map((entries) => new Map(entries)),
})

test('a DHCP message comes back as it was written', () => {
  fc.assert(
    fc.property(message, (written) => {
      expect(decodeDhcp(encodeDhcp(written))).toEqual(written)
    }),
  )
})

test('arbitrary bytes are a DHCP message or refused with a code', () => {
  const head = Buffer.alloc(240)
  head.set([2, 1, 6], 0)
  head.writeUInt32BE(0x63825363, 236)
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc.uint8Array({ maxLength: 300 }).map((tail) => new Uint8Array(Buffer.concat([head, tail]))),
  )
  fc.assert(
    fc.property(bytes, (datagram) => {
      try {
        decodeDhcp(datagram)
      } catch (error) {
        expect(error).toMatchObject({ code: 'NETWORK_BAD_DHCP' })
      }
    }),
  )
})

test('the parts of a long option are one (RFC 3396)', () => {
  const whole = encodeDhcp({
    op: 2,
    xid: 1,
    flags: 0,
    ciaddr: '0.0.0.0',
    yiaddr: '0.0.0.0',
    siaddr: '0.0.0.0',
    giaddr: '0.0.0.0',
    chaddr: new Uint8Array(6),
    options: new Map(),
  })
  const parts = Buffer.from([121, 2, 1, 2, 0, 121, 1, 3, 255])
  const { options } = decodeDhcp(Buffer.concat([whole.subarray(0, 240), parts]))
  expect(options.get(121)).toEqual(Uint8Array.of(1, 2, 3))
})

test('classless routes are read as RFC 3442 writes them', () => {
  const routes = [
    { destination: '0.0.0.0/0', router: '10.9.0.1' },
    { destination: '10.0.0.0/8', router: '10.9.0.2' },
    { destination: '10.229.0.128/25', router: '10.9.0.3' },
  ]
  const bytes = [
    [0, 10, 9, 0, 1],
    [8, 10, 10, 9, 0, 2],
    [25, 10, 229, 0, 128, 10, 9, 0, 3],
  ]
  expect(decodeClasslessRoutes(Uint8Array.from(bytes.flat()))).toEqual(routes)
  expect(decodeClasslessRoutes(Uint8Array.of(9, 10, 255, 1, 2, 3, 4))).toEqual([
    { destination: '10.128.0.0/9', router: '1.2.3.4' },
  ])
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 255 }), (value) => {
      try {
        for (const { destination } of decodeClasslessRoutes(value))
          expect(destination).toMatch(/^[\d.]+\/\d+$/)
      } catch (error) {
        expect(error).toMatchObject({ code: 'NETWORK_BAD_OPTION' })
      }
      decodeAddresses(value)
      captivePortalUri(value)
    }),
  )
})

const uri = (text: string): string | undefined => captivePortalUri(Buffer.from(text))

test('a network that says that it has no captive portal has none', () => {
  expect(uri('urn:ietf:params:capport:unrestricted')).toBeUndefined()
  expect(uri('https://portal.example/api')).toBe('https://portal.example/api')
  expect(uri('file:///etc/passwd')).toBeUndefined()
})

test('arbitrary text is a table or refused with a code', () => {
  const row = fc.dictionary(
    fc.constantFrom(
      'dst',
      'gateway',
      'dev',
      'protocol',
      'lladdr',
      'ifname',
      'ifindex',
      'link_type',
      'flags',
      'addr_info',
    ),
    fc.jsonValue(),
  )
  const text = fc.oneof(
    fc.string(),
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.array(row).map((rows) => JSON.stringify(rows)),
  )
  fc.assert(
    fc.property(text, (given) => {
      for (const parse of [parseRoutes, parseNeighbours, parseLinks])
        try {
          parse(given)
        } catch (error) {
          expect(error).toMatchObject({ code: 'NETWORK_BAD_TABLE' })
        }
      parseResolvConf(given)
      parseArping(given)
    }),
  )
})

test('tables are read as iproute2 prints them', () => {
  const routes = parseRoutes(
    '[{"dst":"default","gateway":"10.9.9.1","dev":"va","protocol":"dhcp","flags":[]},{"dst":"10.9.9.7","dev":"va","scope":"link"},{"type":"local","dst":"127.0.0.1","dev":"lo","protocol":"kernel"}]',
  )
  expect(routes).toEqual([
    { destination: '0.0.0.0/0', gateway: '10.9.9.1', dev: 'va', protocol: 'dhcp' },
    { destination: '10.9.9.7/32', gateway: undefined, dev: 'va', protocol: 'boot' },
  ])
  expect(
    parseNeighbours(
      '[{"dst":"10.9.9.1","dev":"va","lladdr":"00:11:AA:33:44:55","state":["STALE"]},{"dst":"10.9.9.2","dev":"va","state":["FAILED"]}]',
    ),
  ).toEqual([{ address: '10.9.9.1', dev: 'va', mac: '00:11:aa:33:44:55' }])
  expect(parseResolvConf('# x\nnameserver 10.0.0.1\n nameserver fe80::1%eth0\noptions edns0\n')).toEqual([
    '10.0.0.1',
    'fe80::1',
  ])
})

test.each([
  [
    'iputils',
    'Unicast reply from 10.9.9.1 [00:11:22:AA:44:55]  0.6ms\nUnicast reply from 10.9.9.1 [00:11:22:AA:44:56]  0.9ms',
  ],
  [
    'busybox',
    'Unicast reply from 10.9.9.1 [00:11:22:aa:44:55] 0.013ms\nUnicast reply from 10.9.9.1 [0:11:22:aa:44:56] 0.1ms',
  ],
  [
    'of Thomas Habets',
    '60 bytes from 00:11:22:aa:44:55 (10.9.9.1): index=0 time=5 usec\n60 bytes from 00:11:22:aa:44:56 (10.9.9.1): index=1 time=5 usec',
  ],
])('arping %s says who answered', (_, text) => {
  expect(parseArping(`ARPING 10.9.9.1 from 10.9.9.2 va\n${text}\nSent 2 probes`)).toEqual([
    '00:11:22:aa:44:55',
    '00:11:22:aa:44:56',
  ])
})

const offer: Offer = {
  server: '10.0.0.1',
  routers: ['10.0.0.1'],
  dns: ['10.0.0.1'],
  routes: [],
  portal: undefined,
}

test('two DHCP servers are suspicious, unless both are expected', () => {
  const second = { ...offer, server: '10.0.0.9' }
  expect(judgeOffers([offer, offer], [])).toEqual([])
  expect(judgeOffers([offer, second], [])).toHaveLength(1)
  expect(judgeOffers([offer, second], ['10.0.0.1', '10.0.0.9'])).toEqual([])
  expect(judgeOffers([offer, second], ['10.0.0.1'])).toHaveLength(1)
  expect(judgeOffers([offer, { ...offer, routers: ['10.0.0.66'] }], [])).toHaveLength(1)
  expect(judgeOffers([], [])).toEqual([])
  const pair = ['10.0.0.1', '10.0.0.9']
  expect(judgeOffers([offer, second, { ...offer, server: '10.0.0.66' }], pair)).toMatchObject([
    expect.stringContaining('10.0.0.66'),
  ])
  expect(judgeOffers([offer, second, { ...offer, routers: ['10.0.0.66'] }], pair)).toHaveLength(1)
  // At home none of the organisation's servers answers.
  expect(judgeOffers([{ ...offer, server: '192.168.1.1' }], pair)).toEqual([])
})

const wire: Link = {
  name: 'eth0',
  index: 2,
  isEthernet: true,
  isUp: true,
  mac: '02:00:00:00:00:01',
  address: '10.0.0.2',
  prefix: 24,
  carrierChanges: 1,
}
const tunnel: Link = { ...wire, name: 'wg0', index: 3, isEthernet: false, mac: '', address: '10.80.0.2' }
const own: readonly Route[] = [
  { destination: '0.0.0.0/0', gateway: '10.0.0.1', dev: 'eth0', protocol: 'dhcp' },
  { destination: '10.0.0.0/24', gateway: undefined, dev: 'eth0', protocol: 'kernel' },
]
const vpn: Route = { destination: '10.50.0.0/16', gateway: undefined, dev: 'wg0', protocol: 'static' }

const to = (destination: string): readonly PushedRoute[] => [{ destination, router: '10.0.0.66' }]

test('a route by DHCP is suspicious when it beats the VPN, and when it takes half of the world', () => {
  expect(judgeRoutes(to('10.50.1.0/24'), own, [wire])).toEqual([])
  expect(judgeRoutes(to('10.50.1.0/24'), [...own, vpn], [wire, tunnel])).toHaveLength(1)
  expect(judgeRoutes(to('10.50.0.0/16'), [...own, vpn], [wire, tunnel])).toHaveLength(1)
  expect(judgeRoutes(to('10.0.0.0/8'), [...own, vpn], [wire, tunnel])).toEqual([])
  expect(judgeRoutes(to('0.0.0.0/1'), own, [wire])).toHaveLength(1)
  expect(judgeRoutes(to('0.0.0.0/0'), own, [wire])).toEqual([])
  const installed: Route = {
    destination: '10.50.1.0/24',
    gateway: '10.0.0.66',
    dev: 'eth0',
    protocol: 'dhcp',
  }
  expect(judgeRoutes([], [...own, vpn, installed], [wire, tunnel])).toHaveLength(1)
  expect(judgeRoutes([], [...own, vpn, { ...installed, protocol: 'static' }], [wire, tunnel])).toEqual([])
  // As systemd-networkd and dhcpcd enter the router and the wire's own network.
  const everything: Route = { ...vpn, destination: '0.0.0.0/0' }
  for (const destination of ['10.0.0.1/32', '10.0.0.0/24'])
    expect(judgeRoutes([], [...own, everything, { ...installed, destination }], [wire, tunnel])).toEqual([])
  expect(judgeRoutes([], [...own, everything, installed], [wire, tunnel])).toHaveLength(1)
  const half: Route = { ...vpn, destination: '10.0.0.128/25' }
  expect(judgeRoutes(to('10.0.0.192/26'), [...own, half], [wire, tunnel])).toHaveLength(1)
  expect(gatewaysIn([...own, vpn], [wire, tunnel])).toEqual([{ address: '10.0.0.1', dev: 'eth0' }])
})

test('a gateway that becomes another machine is suspicious for a while, also when it changes back', () => {
  const [real, false_] = ['02:00:00:00:00:01', '02:00:00:00:00:66']
  const first = rememberGateway(undefined, real, [real], 0)
  expect(judgeGateway(first, [real], 0)).toEqual([])
  const second = rememberGateway(first, false_, [], 1000)
  expect(judgeGateway(second, [], 1000)).toHaveLength(1)
  const third = rememberGateway(second, real, [real], 60_000)
  expect(judgeGateway(third, [real], 60_000)).toHaveLength(1)
  expect(judgeGateway(third, [real], 1_000_000)).toEqual([])
  expect(judgeGateway(third, [real], 60_000 - 86_400_000)).toEqual([])
  expect(judgeGateway(first, [real, false_], 0)).toHaveLength(1)
  expect(rememberGateway(undefined, undefined, [], 0)).toBeUndefined()
})
