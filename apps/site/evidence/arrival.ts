import {
  type BeaconSeen,
  type Claim,
  rankOf,
  type Zone,
  type ZoneFinding,
  zoneKinds,
} from '#core/trust/index.ts'
import type { Interception } from '../endpoints/proven-endpoint.ts'
import type { Rules } from '../launches/rules.ts'

/** What the site sees of the ways by which a person and their endpoint reach it. */
export interface Arrival {
  /** Of the request, and of the endpoint's agent where it is connected. */
  readonly addresses: readonly string[]
  /** What a beacon has said of the endpoint. */
  readonly beacon: BeaconSeen | undefined
  /** Whether somebody opens the connection of the request. */
  readonly interception: Interception | undefined
}

/** The zone that counts, with its reason, and what else of the network is the site's own to see. */
export interface Seen {
  readonly zone: Zone
  /** One sentence, for people. */
  readonly zoneReason: string
  readonly claims: readonly Claim[]
}

/**
 * Of several ways to the site the worse counts: what one of them proves says nothing about the other.
 *
 * @param known what the endpoint's evidence has shown, of which interception is replaced
 */
export function seenArrival(
  rules: Pick<Rules, 'findZone'>,
  arrival: Arrival,
  known: readonly Claim[],
  now: number,
): Seen {
  const { addresses, beacon, interception } = arrival
  const findings = addresses.map((address) => rules.findZone(address, beacon, now))
  const [worst] = findings.toSorted((a, b) => zoneKinds.indexOf(b.zone.kind) - zoneKinds.indexOf(a.zone.kind))
  if (worst === undefined) throw new TypeError('expected at least one address')
  return {
    zone: worst.zone,
    zoneReason: worst.why,
    claims: [
      ...known.filter(({ name }) => name !== 'network.interception'),
      ...worstInterception(known, interception, now),
      { name: 'network.vpn', value: worstVpn(findings), source: 'server', observedAt: now },
    ],
  }
}

/** A clean connection does not make up for another one that is opened. */
function worstInterception(
  known: readonly Claim[],
  interception: Interception | undefined,
  now: number,
): readonly Claim[] {
  const name = 'network.interception'
  const looks = known.filter((claim) => claim.name === name)
  if (interception !== undefined && interception !== 'unknown')
    looks.push({ name, value: interception, source: 'server', observedAt: now })
  const [worst] = looks.toSorted((a, b) => rankOf(name, a.value) - rankOf(name, b.value))
  return worst === undefined ? [] : [worst]
}

function worstVpn(findings: readonly ZoneFinding[]): ZoneFinding['vpn'] {
  const [worst] = findings
    .map(({ vpn }) => vpn)
    .toSorted((a, b) => rankOf('network.vpn', a) - rankOf('network.vpn', b))
  return worst ?? 'unknown'
}
