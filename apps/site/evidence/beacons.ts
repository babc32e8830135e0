import { endpointKeys, readZones } from '#adapters/store-postgres/index.ts'
import type { BeaconToAsk } from '#core/agent/endpoint-messages.ts'
import { BeaconError, keyThumbprint, verifyBeacon } from '#core/beacon/index.ts'
import { readPublicKey } from '#core/ecdsa/index.ts'
import type { EvidenceStatement } from '#core/evidence/index.ts'
import { type BeaconSeen, compileZones, findZone, parseAddress, type ZoneMap } from '#core/trust/index.ts'
import type { Site } from '../site.ts'

/** The beacons that stand in zones, as the evidence of endpoints has to do with them. */
export interface Beacons {
  /** What an endpoint that is connected from this address should ask. */
  toAsk(address: string): Promise<readonly BeaconToAsk[]>
  /** @returns what became of the word of a beacon that the statement brings; undefined when its zone asks for none */
  seenIn(
    statement: EvidenceStatement,
    connection: { readonly address: string; readonly publicKey: Uint8Array },
  ): Promise<BeaconSeen | undefined>
}

/** Every report asks for the zones, and they seldom change. */
const memoryMs = 2_000

export function createBeacons(site: Site): Beacons {
  let known: { readonly at: number; readonly zones: Promise<ZoneMap> } | undefined
  const zones = async (): Promise<ZoneMap> => {
    const now = site.now()
    if (known === undefined || Math.abs(now - known.at) > memoryMs)
      known = { at: now, zones: readZones(site.store.db).then((all) => compileZones(all ?? [])) }
    known.zones.catch(() => {
      known = undefined
    })
    return known.zones
  }
  const wantedAt = async (address: string) => {
    if (address === '') return undefined
    const map = await zones()
    if (!map.hasBeacon) return undefined
    const { zone, wanted } = findZone(map, parseAddress(address), { now: site.now() })
    return wanted === undefined ? undefined : { zone: zone.name, ...wanted }
  }
  return {
    toAsk: async (address) => {
      const wanted = await wantedAt(address)
      return wanted === undefined ? [] : [{ zone: wanted.zone, url: wanted.url, key: wanted.key }]
    },
    seenIn: async ({ beacon, nonce, endpoint }, { address, publicKey }) => {
      const wanted = await wantedAt(address)
      if (wanted === undefined || beacon === undefined) return undefined
      const { key, maxRttMs } = wanted
      const at = site.now()
      // Its certificate may have been renewed since it connected.
      const renewed = await endpointKeys(site.store.db, endpoint, new Date(at))
      try {
        const { rttMs } = verifyBeacon(beacon, {
          nonce,
          endpointId: endpoint,
          thumbprints: [publicKey, ...renewed].map((spki) => keyThumbprint(readPublicKey(spki))),
          key,
          maxRttMs,
          nowMs: at,
        })
        return { kind: 'near', key, rttMs, at }
      } catch (error) {
        if (!(error instanceof BeaconError)) throw error
        return { kind: 'refused', code: error.code, message: error.message, at }
      }
    },
  }
}
