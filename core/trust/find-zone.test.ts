import { expect, test } from 'vitest'
import { parseAddress } from './address.ts'
import { type BeaconSeen, beaconMaxAgeMs, findZone } from './find-zone.ts'
import { compileZones } from './zone.ts'

const key = 'k'.repeat(43)
const zones = compileZones([
  {
    name: 'office',
    kind: 'inside',
    networks: ['10.1.0.0/16'],
    beacon: { key, url: 'tls://beacon.example:7443', maxRttMs: 3 },
  },
  { name: 'vpn', kind: 'inside', networks: ['10.8.0.0/16'], vpn: true },
  { name: 'guests', kind: 'hostile', networks: ['10.9.0.0/16'] },
])
const now = 1_000_000
const near: BeaconSeen = { kind: 'near', key, rttMs: 0.8, at: now }
const find = (address: string, beacon?: BeaconSeen) => findZone(zones, parseAddress(address), { beacon, now })

test('a zone with a beacon counts when the beacon has answered, and says so', () => {
  expect(find('10.1.2.3', near)).toMatchObject({
    zone: { name: 'office', kind: 'inside' },
    why: 'Inside because 10.1.2.3 is in office and its beacon answered in 0.8 ms',
  })
})

test.each([
  ['has not spoken', undefined],
  ['spoke too long ago', { ...near, at: now - beaconMaxAgeMs - 1 }],
  ['is another one', { ...near, key: 'o'.repeat(43) }],
  ['was further away', { ...near, rttMs: 3.1 }],
  ['was refused', { kind: 'refused', code: 'BEACON_RELAYED', message: 'too far', at: now }],
] as const)('it counts as outside when the beacon %s', (_, beacon) => {
  const { zone, why, wanted } = find('10.1.2.3', beacon)
  expect(zone).toEqual({ name: 'office', kind: 'outside' })
  expect(why).toMatch(/^Outside although 10\.1\.2\.3 is in office because /)
  expect(wanted?.key).toBe(key)
})

test('a beacon makes no other zone better', () => {
  expect(find('10.9.1.1', near).zone.kind).toBe('hostile')
  expect(find('8.8.8.8', near)).toMatchObject({
    zone: { kind: 'outside' },
    why: 'Outside because 8.8.8.8 is in no zone of this site',
  })
})

test('who arrives in a zone of the VPN came through it, and nobody else did', () => {
  expect(find('10.8.0.2')).toMatchObject({
    vpn: 'yes',
    why: 'Inside because 10.8.0.2 is in vpn, where the VPN arrives',
  })
  expect(find('10.1.2.3', near).vpn).toBe('no')
  expect(findZone(compileZones([]), parseAddress('10.8.0.2'), { now }).vpn).toBe('unknown')
})

test('only an inside zone asks for a beacon', () => {
  const beacon = { key, url: 'tls://b:1', maxRttMs: 1 }
  expect(() => compileZones([{ name: 'a', kind: 'outside', networks: [], beacon }])).toThrow(
    expect.objectContaining({ code: 'ZONE_BEACON_MISPLACED' }),
  )
})
