import { z } from 'zod'
import { NetworkError } from './network-error.ts'

/** What iproute2 prints as JSON, and files of the resolver. All of it is bounded, and what is not understood is left out. */

const maxChars = 4 * 1024 * 1024
const maxRows = 20_000

const route = z.looseObject({
  dst: z.string().max(64),
  gateway: z.string().max(64).optional(),
  dev: z.string().max(32).optional(),
  protocol: z.string().max(32).optional(),
  scope: z.string().max(32).optional(),
  type: z.string().max(32).optional(),
})

/** One line of `ip -j -4 route show table all`. */
export interface Route {
  /** `address/prefix`; a default route is `0.0.0.0/0`. */
  readonly destination: string
  readonly gateway: string | undefined
  readonly dev: string
  /** Who made it: `kernel`, `dhcp`, `static`, `boot`. */
  readonly protocol: string
}

/** @throws {NetworkError} NETWORK_BAD_TABLE */
export function parseRoutes(json: string): readonly Route[] {
  return rowsOf(json).flatMap((row) => {
    const parsed = route.safeParse(row)
    if (!parsed.success) return []
    const { dst, gateway, dev, protocol = 'boot', type = 'unicast' } = parsed.data
    if (dev === undefined || type !== 'unicast') return []
    const destination = dst === 'default' ? '0.0.0.0/0' : dst.includes('/') ? dst : `${dst}/32`
    return [{ destination, gateway, dev, protocol }]
  })
}

const neighbour = z.looseObject({
  dst: z.string().max(64),
  dev: z.string().max(32),
  lladdr: z.string().max(32),
})

/** One entry of the ARP table. */
export interface Neighbour {
  readonly address: string
  readonly dev: string
  /** Lower case, with colons. */
  readonly mac: string
}

/**
 * Reads `ip -j -4 neigh show`; entries without a hardware address are nobody's.
 *
 * @throws {NetworkError} NETWORK_BAD_TABLE
 */
export function parseNeighbours(json: string): readonly Neighbour[] {
  return rowsOf(json).flatMap((row) => {
    const parsed = neighbour.safeParse(row)
    if (!parsed.success) return []
    const { dst: address, dev, lladdr } = parsed.data
    return [{ address, dev, mac: lladdr.toLowerCase() }]
  })
}

const link = z.looseObject({
  ifname: z.string().max(32),
  ifindex: z.int(),
  link_type: z.string().max(32),
  address: z.string().max(64).optional(),
  flags: z.array(z.string().max(32)).max(50),
  stats64: z.looseObject({ tx: z.looseObject({ carrier_changes: z.int().optional() }) }).optional(),
  addr_info: z
    .array(
      z.looseObject({
        family: z.string(),
        local: z.string().max(64).optional(),
        prefixlen: z.int(),
        broadcast: z.string().max(64).optional(),
      }),
    )
    .max(1000)
    .default([]),
})

/** A network interface with its first IPv4 address. */
export interface Link {
  readonly name: string
  readonly index: number
  /** Whether it is a wire or air that others share: not a tunnel, not the machine's own. */
  readonly isEthernet: boolean
  readonly isUp: boolean
  readonly mac: string
  readonly address: string | undefined
  readonly prefix: number
  /** How often it lost or found its wire since it is there; 0 when that is not told. */
  readonly carrierChanges: number
}

/**
 * Reads `ip -j -s -s address show`.
 *
 * @throws {NetworkError} NETWORK_BAD_TABLE
 */
export function parseLinks(json: string): readonly Link[] {
  return rowsOf(json).flatMap((row) => {
    const parsed = link.safeParse(row)
    if (!parsed.success) return []
    const { ifname, ifindex, link_type, address = '', flags, stats64, addr_info } = parsed.data
    const first = addr_info.find(({ family, local }) => family === 'inet' && local !== undefined)
    return [
      {
        name: ifname,
        index: ifindex,
        isEthernet: link_type === 'ether' && flags.includes('BROADCAST'),
        isUp: flags.includes('UP') && flags.includes('LOWER_UP'),
        mac: address.toLowerCase(),
        address: first?.local,
        prefix: first?.prefixlen ?? 32,
        carrierChanges: stats64?.tx.carrier_changes ?? 0,
      },
    ]
  })
}

/** Name servers of a resolv.conf, in its order; at most as many as resolvers use. */
export function parseResolvConf(text: string): readonly string[] {
  return text
    .slice(0, 64 * 1024)
    .split('\n')
    .flatMap((line) => /^\s*nameserver\s+([0-9A-Fa-f:.]+)/.exec(line)?.[1] ?? [])
    .slice(0, 3)
}

/**
 * Hardware addresses that answered for an address, as the three programs called `arping` print them.
 *
 * @returns lower case, each once
 */
export function parseArping(text: string): readonly string[] {
  const found = text
    .slice(0, 64 * 1024)
    .split('\n')
    .filter((line) => /reply from|bytes from/i.test(line))
    .flatMap((line) => /\b(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}\b/i.exec(line)?.[0] ?? [])
  return [...new Set(found.map(normalMac))]
}

/** iputils leaves out leading zeros in some versions. */
function normalMac(mac: string): string {
  return mac
    .split(':')
    .map((part) => part.padStart(2, '0').toLowerCase())
    .join(':')
}

function rowsOf(json: string): readonly unknown[] {
  if (json.length > maxChars)
    throw new NetworkError('NETWORK_BAD_TABLE', `expected at most ${maxChars} characters, got ${json.length}`)
  if (json.trim() === '') return []
  try {
    const rows: unknown = JSON.parse(json)
    if (Array.isArray(rows)) return rows.slice(0, maxRows)
  } catch (cause) {
    throw new NetworkError('NETWORK_BAD_TABLE', 'expected the JSON of iproute2', { cause })
  }
  throw new NetworkError('NETWORK_BAD_TABLE', 'expected a list')
}
