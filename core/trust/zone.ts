import { CodedError } from '#core/errors/coded-error.ts'
import { contains, type IpAddress, type Network, parseAddress, parseNetwork } from './address.ts'

export const zoneKinds = ['inside', 'outside', 'hostile'] as const
export type ZoneKind = (typeof zoneKinds)[number]

/** The network an endpoint is seen on, as the site sees it. */
export interface Zone {
  readonly name: string
  readonly kind: ZoneKind
}

/** A machine that stands in a zone and signs that an endpoint is near (`core/beacon`). */
export interface ZoneBeacon {
  /** Its Ed25519 public key, 32 bytes, base64url. */
  readonly key: string
  /** Where endpoints reach it: `tls://name:port`. */
  readonly url: string
  /** A longer round trip is not near, ms. */
  readonly maxRttMs: number
}

/** A zone and the networks that make it, in CIDR notation. */
export interface ZoneDefinition extends Zone {
  readonly networks: readonly string[]
  /** Who arrives from here came through the organisation's VPN. */
  readonly vpn?: boolean | undefined
  /** Without a fresh word of this beacon the zone counts as outside (`findZone`). */
  readonly beacon?: ZoneBeacon | undefined
}

/** The zone of a network, and how it was defined. */
export interface PlacedZone {
  readonly zone: Zone
  readonly definition: ZoneDefinition
}

/** Zones ready for look-up, made only by `compileZones`. */
export interface ZoneMap {
  /** By network, as `keyOf` names it. */
  readonly places: ReadonlyMap<string, PlacedZone>
  /** The lengths of all their prefixes, the longest first: a look-up asks once for each, not for each network. */
  readonly prefixes: readonly number[]
  /** Whether one of them is where the VPN arrives. */
  readonly hasVpn: boolean
  /** Whether one of them asks for a beacon. */
  readonly hasBeacon: boolean
}

export type ZoneErrorCode =
  | 'ZONE_AMBIGUOUS'
  | 'ZONE_TOO_MANY'
  | 'ZONE_BEACON_MISPLACED'
  | 'FORWARDED_MALFORMED'
export class ZoneError extends CodedError<ZoneErrorCode> {}

/** Where every address is that no zone names. */
export const defaultZone: Zone = { name: 'outside', kind: 'outside' }

export const maxNetworks = 4096
const maxForwardedLength = 2048

/**
 * Compiles the zones of a site.
 *
 * @throws {AddressError} for a network that does not parse
 * @throws {ZoneError} ZONE_AMBIGUOUS when a network stands in two places, ZONE_TOO_MANY, ZONE_BEACON_MISPLACED
 */
export function compileZones(definitions: readonly ZoneDefinition[]): ZoneMap {
  const count = definitions.reduce((sum, { networks }) => sum + networks.length, 0)
  if (count > maxNetworks)
    throw new ZoneError('ZONE_TOO_MANY', `expected at most ${maxNetworks} networks, got ${count}`)
  const places = new Map<string, PlacedZone>()
  const prefixes = new Set<number>()
  for (const definition of definitions) {
    const { name, kind, networks, beacon } = definition
    if (beacon !== undefined && kind !== 'inside')
      throw new ZoneError('ZONE_BEACON_MISPLACED', `zone ${name} is ${kind} and asks for a beacon`, {
        remedy: 'Let only an inside zone ask for a beacon: without its word a zone counts as outside.',
      })
    for (const text of networks) {
      const network = parseNetwork(text)
      const key = keyOf(network, network.prefix)
      const owner = places.get(key)?.zone.name
      if (owner !== undefined)
        throw new ZoneError('ZONE_AMBIGUOUS', `${text} is in zone ${name} and already in zone ${owner}`, {
          remedy: 'Name each network in one zone only; a longer prefix inside a shorter one is fine.',
        })
      places.set(key, { zone: { name, kind }, definition })
      prefixes.add(network.prefix)
    }
  }
  return {
    places,
    prefixes: [...prefixes].toSorted((a, b) => b - a),
    hasVpn: definitions.some(({ vpn, networks }) => vpn === true && networks.length > 0),
    hasBeacon: definitions.some(({ beacon }) => beacon !== undefined),
  }
}

/** @returns the zone of the longest prefix that holds the address */
export function placedZone({ places, prefixes }: ZoneMap, address: IpAddress): PlacedZone | undefined {
  for (const prefix of prefixes) {
    const found = places.get(keyOf(address, prefix))
    if (found !== undefined) return found
  }
  return undefined
}

/** Of the network with that prefix in which the address lies; one that is longer than the address is nobody's. */
function keyOf({ family, bits }: IpAddress, prefix: number): string {
  return `${family} ${prefix} ${bits >> BigInt((family === 4 ? 32 : 128) - prefix)}`
}

/** What the site sees of a connection. */
export interface Arrival {
  /** Address of the connection's other end, as the socket says; an IPv6 scope is dropped. */
  readonly peer: string
  /** `X-Forwarded-For`, all its lines joined by commas; untrusted. */
  readonly forwardedFor?: string | undefined
}

/**
 * The client's address. The header counts only from trusted proxies, and of it only what they wrote: each appends
 * the address it saw, so the rightmost address that is no trusted proxy is the client.
 *
 * @throws {AddressError} ADDRESS_MALFORMED for the peer
 * @throws {ZoneError} FORWARDED_MALFORMED when a trusted proxy passed on something else than addresses
 */
export function clientAddress(
  { peer, forwardedFor = '' }: Arrival,
  trustedProxies: readonly Network[],
): IpAddress {
  const trusted = (address: IpAddress): boolean => trustedProxies.some((proxy) => contains(proxy, address))
  let client = parseAddress(peer.replace(/%[\w.-]+$/, ''))
  if (!trusted(client) || forwardedFor === '') return client
  if (forwardedFor.length > maxForwardedLength)
    throw malformedForwarded(`expected at most ${maxForwardedLength} characters, got ${forwardedFor.length}`)
  for (const hop of forwardedFor.split(',').toReversed()) {
    client = parseHop(hop.trim())
    if (!trusted(client)) return client
  }
  return client
}

function parseHop(text: string): IpAddress {
  try {
    return parseAddress(text)
  } catch (cause) {
    throw malformedForwarded('expected addresses separated by commas', cause)
  }
}

function malformedForwarded(problem: string, cause?: unknown): ZoneError {
  return new ZoneError('FORWARDED_MALFORMED', `X-Forwarded-For: ${problem}`, {
    cause,
    remedy: 'Let the proxy in front of the site append plain client addresses to X-Forwarded-For.',
  })
}
