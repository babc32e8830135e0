import { activePolicy, activePolicyDigest, type Db, readZones } from '#adapters/store-postgres/index.ts'
import { type CompiledPolicy, compilePolicy } from '#core/policy/index.ts'
import {
  type BeaconSeen,
  compileZones,
  findZone,
  parseAddress,
  type Zone,
  type ZoneFinding,
} from '#core/trust/index.ts'

/** What decides now: the active policy and the zones. */
export interface Rules {
  readonly policy: CompiledPolicy
  /** The zone of an address when no beacon has spoken: one that asks for a beacon counts as outside. */
  zoneOf(address: string): Zone
  /** @param now Unix time, ms */
  findZone(address: string, beacon: BeaconSeen | undefined, now: number): ZoneFinding
}

/** Compiling takes a moment: the last few policies are kept compiled, by digest. */
const compiled = new Map<string, CompiledPolicy>()
const keep = 4

/** INVARIANT I6: what stands in for a policy where there is none permits nothing. */
const emptyPolicy = compilePolicy('')

/** Reads the rules as they are at this moment: never a cached decision about what is active. */
export async function readRules(db: Db): Promise<Rules> {
  const [policy, definitions] = await Promise.all([readPolicy(db), readZones(db)])
  const zones = compileZones(definitions ?? [])
  const find = (address: string, beacon: BeaconSeen | undefined, now: number): ZoneFinding =>
    findZone(zones, parseAddress(address), { beacon, now })
  return { policy, zoneOf: (address) => find(address, undefined, 0).zone, findZone: find }
}

async function readPolicy(db: Db): Promise<CompiledPolicy> {
  const digest = await activePolicyDigest(db)
  const known = digest === undefined ? undefined : compiled.get(digest)
  if (known !== undefined) return known
  const row = await activePolicy(db)
  if (row === undefined) return emptyPolicy
  const fresh = compilePolicy(row.text)
  compiled.set(row.digest, fresh)
  for (const [oldest] of compiled) {
    if (compiled.size <= keep) break
    compiled.delete(oldest)
  }
  return fresh
}
