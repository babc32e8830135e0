import { activePolicy, activePolicyDigest, type Db, readZones } from '#adapters/store-postgres/index.ts'
import { type CompiledPolicy, compilePolicy } from '#core/policy/index.ts'
import { compileZones, parseAddress, type Zone, zoneOf } from '#core/trust/index.ts'

/** What decides now: the active policy and the zones. */
export interface Rules {
  readonly policy: CompiledPolicy
  zoneOf(address: string): Zone
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
  return { policy, zoneOf: (address) => zoneOf(zones, parseAddress(address)) }
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
