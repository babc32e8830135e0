import { activePolicy, type Db, readZones } from '#adapters/store-postgres/index.ts'
import { type CompiledPolicy, compilePolicy } from '#core/policy/index.ts'
import { compileZones, parseAddress, type Zone, zoneOf } from '#core/trust/index.ts'

/** What decides now: the active policy and the zones. */
export interface Rules {
  readonly policy: CompiledPolicy
  zoneOf(address: string): Zone
}

/** Compiling takes a moment: the last few policies are kept compiled. */
const compiled = new Map<string, CompiledPolicy>()
const keep = 4

/** INVARIANT I6: what stands in for a policy where there is none permits nothing. */
const emptyPolicy = ''

/** Reads the rules as they are at this moment: never a cached decision about what is active. */
export async function readRules(db: Db): Promise<Rules> {
  const [row, definitions] = await Promise.all([activePolicy(db), readZones(db)])
  const zones = compileZones(definitions ?? [])
  return {
    policy: compileOnce(row?.text ?? emptyPolicy),
    zoneOf: (address) => zoneOf(zones, parseAddress(address)),
  }
}

function compileOnce(text: string): CompiledPolicy {
  const known = compiled.get(text)
  if (known !== undefined) return known
  const fresh = compilePolicy(text)
  compiled.set(text, fresh)
  for (const [oldest] of compiled) {
    if (compiled.size <= keep) break
    compiled.delete(oldest)
  }
  return fresh
}
