import {
  gatewaysIn,
  judgeOffers,
  judgeRoutes,
  type Link,
  type Offer,
  type Suspicions,
} from '#core/network/index.ts'
import { unknown, type WatchingCollector } from '#core/posture/index.ts'
import { discoverDhcp } from './discover-dhcp.ts'
import { gatewayCollector } from './gateway-collector.ts'
import { type NetworkChange, sharedMonitor } from './monitor.ts'
import type { Tables } from './read-tables.ts'
import { integrity, said } from './said.ts'
import { sharedTables } from './shared-tables.ts'
import { type KnownSite, lookAtNames, lookAtPortal, lookAtSite } from './site-path.ts'

export interface NetworkCollectorOptions {
  /** File in which gateways are remembered, so that a service that starts anew does not forget. */
  readonly memory: string
  /** Leaves that file as it is. */
  readonly isLookOnly?: boolean
  /** The endpoint's site; undefined while it has none. */
  readonly site: () => Promise<KnownSite | undefined>
  /** DHCP servers that the organisation runs beside each other; none named: one is right. */
  readonly dhcpServers?: readonly string[]
  /** What a resolver reads. */
  readonly resolvConf?: string
  readonly now?: () => number
}

/** What costs others something is looked at anew when the network is another, and otherwise so often. */
const dhcpEveryMs = 3 * 60_000
const siteEveryMs = 30 * 60_000

/**
 * What this machine can see of the network that it is in: whether something speaks against it. It is the machine's own word and lowers trust
 * only (I5); `unknown` is what a network is worth that nothing speaks against. Each collector looks at once when the kernel tells of a change.
 */
export function networkCollectors(options: NetworkCollectorOptions): readonly WatchingCollector[] {
  const { now = Date.now, resolvConf = '/etc/resolv.conf', dhcpServers = [], isLookOnly = false } = options
  // Who has signed in to a captive portal is on the same network as before.
  const path = remembered<Suspicions>(siteEveryMs, now, (found) => found.length === 0)
  const offers = remembered<Offers | undefined>(dhcpEveryMs, now)
  const offersFor = async (seen: Tables, signal: AbortSignal): Promise<Offers | undefined> =>
    offers(keyOf(seen), () => offersOf(seen, signal))
  const monitor = sharedMonitor()
  const tables = sharedTables(monitor)
  const watching = (...wanted: readonly NetworkChange['table'][]): Required<WatchingCollector>['watch'] => {
    return (changed, signal) => {
      tables.keep(signal)
      monitor(({ table }) => {
        if (table === 'ALL' || wanted.includes(table)) changed()
      }, signal)
    }
  }
  return [
    {
      name: 'routes',
      claims: [integrity],
      collect: async (signal) => {
        const { links, routes } = await tables.read(signal)
        return said('routes', judgeRoutes([], routes, links))
      },
      watch: watching('LINK', 'ROUTE'),
    },
    {
      name: 'dhcp',
      claims: [integrity],
      collect: async (signal) => {
        const seen = await tables.read(signal)
        const found = await offersFor(seen, signal)
        if (found === undefined) return [unknown(integrity, 'dhcp', 'only root may ask DHCP servers')]
        const all = found.flat()
        const pushed = all.flatMap((offer) => offer.routes)
        return said('dhcp', [
          ...new Set(found.flatMap((offers) => judgeOffers(offers, dhcpServers))),
          ...judgeRoutes(pushed, seen.routes, seen.links),
          ...(await portalsOf(all, signal)),
        ])
      },
      watch: watching('LINK', 'ADDR', 'ROUTE'),
    },
    gatewayCollector({ path: options.memory, isLookOnly }, { monitor, tables }, now),
    {
      name: 'site-path',
      claims: [integrity],
      collect: async (signal) => {
        const key = keyOf(await tables.read(signal))
        return said('site-path', await path(key, () => lookAtPath(options.site, resolvConf, signal)))
      },
      watch: watching('ADDR', 'ROUTE'),
    },
  ]
}

async function lookAtPath(
  siteOf: NetworkCollectorOptions['site'],
  resolvConf: string,
  signal: AbortSignal,
): Promise<Suspicions> {
  const site = await siteOf()
  const looks = [
    lookAtNames(site, resolvConf, signal),
    ...(site === undefined ? [] : [lookAtSite(site, signal)]),
  ]
  return (await Promise.all(looks)).flat()
}

/** Link by link: two of them may be in two networks, each with a server of its own. */
type Offers = readonly (readonly Offer[])[]

/** @returns undefined for who may not ask */
async function offersOf(tables: Tables, signal: AbortSignal): Promise<Offers | undefined> {
  try {
    return await Promise.all(asked(tables).map(async (link) => discoverDhcp(link, signal)))
  } catch (error) {
    if (isDenied(error)) return undefined
    throw error
  }
}

async function portalsOf(offers: readonly Offer[], signal: AbortSignal): Promise<Suspicions> {
  const portals = new Set(offers.flatMap(({ portal }) => portal ?? []))
  const found = await Promise.all([...portals].slice(0, 5).map(async (uri) => lookAtPortal(uri, signal)))
  return found.flat()
}

/** Links on which a DHCP server could be. */
function asked({ links, routes }: Tables): readonly (Link & { readonly address: string })[] {
  const gateways = new Set(gatewaysIn(routes, links).map(({ dev }) => dev))
  return links.flatMap((link) =>
    link.isEthernet &&
    link.isUp &&
    link.address !== undefined &&
    (gateways.size === 0 || gateways.has(link.name))
      ? [{ ...link, address: link.address }]
      : [],
  )
}

/** What makes it the same network as before, as far as this machine is concerned. */
function keyOf({ links, routes }: Tables): string {
  const wires = links
    .filter(({ isUp, address }) => isUp && address !== undefined)
    .map(({ name, index, address, prefix, carrierChanges }) => [name, index, address, prefix, carrierChanges])
  return JSON.stringify([wires, gatewaysIn(routes, links)])
}

/** Keeps what was found for one network for a while. Failures are not kept. */
function remembered<T>(
  periodMs: number,
  now: () => number,
  isKept: (found: T) => boolean = () => true,
): (key: string, look: () => Promise<T>) => Promise<T> {
  let last: { readonly key: string; readonly at: number; readonly found: T } | undefined
  return async (key, look) => {
    const isFresh = last?.key === key && isKept(last.found) && now() - last.at < periodMs && now() >= last.at
    if (last === undefined || !isFresh) last = { key, at: now(), found: await look() }
    return last.found
  }
}

function isDenied(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM')
}
