import { AddressError, contains, type Network, parseNetwork } from '#core/trust/index.ts'
import type { PushedRoute } from './dhcp.ts'
import type { Link, Route } from './tables.ts'

/** What speaks against a network, each in one sentence; empty when nothing does. */
export type Suspicions = readonly string[]

/** What one DHCP server offered. */
export interface Offer {
  readonly server: string
  readonly routers: readonly string[]
  readonly dns: readonly string[]
  readonly routes: readonly PushedRoute[]
  readonly portal: string | undefined
}

/**
 * Two servers that both hand out addresses: one of them is not the network's, or the network is set up twice.
 *
 * @param expected servers that an organisation runs beside each other, which count as one where any of them answers
 */
export function judgeOffers(offers: readonly Offer[], expected: readonly string[]): Suspicions {
  const servers = new Set(offers.map(({ server }) => server))
  const others = [...servers].filter((server) => !expected.includes(server))
  const isExpected = others.length < servers.size
  if (others.length + (isExpected ? 1 : 0) > 1)
    return [
      isExpected
        ? `a DHCP server answers that is none of the expected ones: ${others.join(', ')}`
        : `more than one DHCP server answers: ${others.join(', ')}`,
    ]
  const answers = new Set(offers.map(({ server, routers, dns }) => JSON.stringify([server, routers, dns])))
  return answers.size > servers.size
    ? [`two answers in the name of one DHCP server, of ${[...servers].join(', ')}`]
    : []
}

/** No honest network has a route to so much of the world that is not its default route. */
const widestPrefix = 7
const tunnelName = /^(?:tun|tap|wg|ppp|tailscale|nordlynx|utun|zt)/

/** Interfaces that carry other networks inside them. */
function tunnelsIn(links: readonly Link[]): ReadonlySet<string> {
  return new Set(
    links
      .filter(({ name, isEthernet, isUp }) => isUp && name !== 'lo' && (!isEthernet || tunnelName.test(name)))
      .map(({ name }) => name),
  )
}

/**
 * Routes by DHCP that take traffic away from a VPN, as a more specific route does whatever the metric (CVE-2024-3661), or from the
 * default route by halves of the world.
 *
 * @param pushed by a DHCP server, whether the machine has taken them or not
 * @param routes of the machine
 */
export function judgeRoutes(
  pushed: readonly PushedRoute[],
  routes: readonly Route[],
  links: readonly Link[],
): Suspicions {
  const tunnels = tunnelsIn(links)
  const own = ownNetworks(links.filter(({ name }) => !tunnels.has(name)))
  const intoTunnel = routes.filter(({ dev }) => tunnels.has(dev))
  const byDhcp = [
    ...pushed,
    ...routes.filter(({ protocol, dev }) => protocol === 'dhcp' && !tunnels.has(dev)),
  ]
  const found = byDhcp.flatMap(({ destination }) => {
    const network = networkOf(destination)
    if (network === undefined || network.prefix === 0) return []
    if (network.prefix <= widestPrefix) return [`DHCP pushes a route to ${destination}`]
    const isBeaten = intoTunnel.some((route) => {
      const inside = networkOf(route.destination)
      return covers(inside, network) && !own.some((wire) => covers(inside, wire) && covers(wire, network))
    })
    return isBeaten ? [`DHCP pushes a route to ${destination}, which beats the VPN's`] : []
  })
  return [...new Set(found)]
}

/**
 * Networks that lie on a wire itself: they are reached past a wider tunnel in any case. Some clients of DHCP enter them, or the router in
 * them, as routes of their own.
 */
function ownNetworks(links: readonly Link[]): readonly Network[] {
  return links.flatMap(({ isUp, address, prefix }) => {
    const here = isUp && address !== undefined ? networkOf(`${address}/32`) : undefined
    return here === undefined ? [] : [{ ...here, prefix }]
  })
}

/** @returns whether `inner` is the same network or a part of it; a tunnel that takes everything is beaten by any route */
function covers(outer: Network | undefined, inner: Network): boolean {
  return outer !== undefined && outer.prefix <= inner.prefix && contains(outer, inner)
}

function networkOf(text: string): Network | undefined {
  try {
    return parseNetwork(text)
  } catch (error) {
    if (error instanceof AddressError) return undefined
    throw error
  }
}

/** Where a machine sends what is for elsewhere. */
export interface Gateway {
  readonly address: string
  readonly dev: string
}

/** Gateways on wires that others share. */
export function gatewaysIn(routes: readonly Route[], links: readonly Link[]): readonly Gateway[] {
  const shared = new Map(
    links.filter(({ isEthernet, isUp }) => isEthernet && isUp).map((link) => [link.name, link]),
  )
  const found = routes.flatMap(({ destination, gateway, dev }) =>
    destination === '0.0.0.0/0' && gateway !== undefined && shared.has(dev)
      ? [{ address: gateway, dev }]
      : [],
  )
  return [...new Map(found.map((one) => [`${one.dev} ${one.address}`, one])).values()]
}
