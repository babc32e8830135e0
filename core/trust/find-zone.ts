import { formatAddress, type IpAddress } from './address.ts'
import { defaultZone, placedZone, type Zone, type ZoneDefinition, type ZoneMap } from './zone.ts'

/** What became of the last word of a beacon that an endpoint brought. */
export type BeaconSeen =
  | {
      readonly kind: 'near'
      /** Whose word it was: the beacon's public key, base64url. */
      readonly key: string
      readonly rttMs: number
      /** When the site verified it, Unix ms. */
      readonly at: number
    }
  | {
      readonly kind: 'refused'
      /** `BEACON_…` */
      readonly code: string
      readonly message: string
      readonly at: number
    }

/** Which zone counts for an arrival, and why. */
export interface ZoneFinding {
  readonly zone: Zone
  /** Whether it came through the organisation's VPN; unknown where no zone is one. */
  readonly vpn: 'yes' | 'no' | 'unknown'
  /** One sentence for people, without a full stop. */
  readonly why: string
  /** Which beacon would make the zone count. */
  readonly wanted: ZoneDefinition['beacon']
}

/** A beacon's word counts as long as evidence does. */
export const beaconMaxAgeMs = 120_000

/**
 * The zone that counts. A zone that asks for a beacon and has no fresh word of it counts as outside: an address alone can be had by
 * whoever sits behind the same router or gateway.
 *
 * @param seen.beacon of the endpoint that arrives; undefined when it brought none
 * @param seen.now Unix time, ms
 */
export function findZone(
  zones: ZoneMap,
  address: IpAddress,
  seen: { readonly beacon?: BeaconSeen | undefined; readonly now: number },
): ZoneFinding {
  const found = placedZone(zones, address)
  const { hasVpn } = zones
  const where = formatAddress(address)
  if (found === undefined)
    return {
      zone: defaultZone,
      vpn: hasVpn ? 'no' : 'unknown',
      why: `Outside because ${where} is in no zone of this site`,
      wanted: undefined,
    }
  const { zone, definition } = found
  const vpn = definition.vpn === true ? 'yes' : hasVpn ? 'no' : 'unknown'
  const isIn = `${where} is in ${zone.name}${definition.vpn === true ? ', where the VPN arrives,' : ''}`
  const wanted = definition.beacon
  if (wanted === undefined)
    return { zone, vpn, why: `${titled(zone.kind)} because ${isIn.replace(/,$/, '')}`, wanted }
  const { isNear, says } = beaconSays(wanted, seen)
  return isNear
    ? { zone, vpn, why: `${titled(zone.kind)} because ${isIn} and ${says}`, wanted }
    : {
        zone: { name: zone.name, kind: 'outside' },
        vpn,
        why: `Outside although ${isIn} because ${says}`,
        wanted,
      }
}

function beaconSays(
  { key, maxRttMs }: NonNullable<ZoneDefinition['beacon']>,
  { beacon, now }: { readonly beacon?: BeaconSeen | undefined; readonly now: number },
): { readonly isNear: boolean; readonly says: string } {
  if (beacon === undefined || now - beacon.at > beaconMaxAgeMs)
    return { isNear: false, says: 'its beacon has not answered for this device lately' }
  if (beacon.kind === 'refused')
    return { isNear: false, says: `the word of its beacon was refused: ${beacon.message} (${beacon.code})` }
  if (beacon.key !== key) return { isNear: false, says: 'the beacon that answered is not its beacon' }
  const took = `${beacon.rttMs.toFixed(1)} ms`
  return beacon.rttMs <= maxRttMs
    ? { isNear: true, says: `its beacon answered in ${took}` }
    : { isNear: false, says: `its beacon answered in ${took}, which is more than ${maxRttMs} ms` }
}

function titled(kind: Zone['kind']): string {
  return kind.charAt(0).toUpperCase() + kind.slice(1)
}
