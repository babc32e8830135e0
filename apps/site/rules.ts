import { activePolicy, type Db, readZones } from '#adapters/store-postgres/index.ts'
import { type CompiledPolicy, compilePolicy } from '#core/policy/index.ts'
import { compileZones, parseAddress, type Zone, zoneOf } from '#core/trust/index.ts'
import { SiteError } from './site-error.ts'

/** What decides now: the active policy and the zones. */
export interface Rules {
  readonly policy: CompiledPolicy
  zoneOf(address: string): Zone
}

/** Compiling takes a moment: the last few policies are kept compiled. */
const compiled = new Map<string, CompiledPolicy>()
const keep = 4

/**
 * Reads the rules as they are at this moment: never a cached decision about what is active.
 *
 * @throws {SiteError} SITE_BROKEN when there is no policy: then nothing is permitted
 */
export async function readRules(db: Db): Promise<Rules> {
  const [row, definitions] = await Promise.all([activePolicy(db), readZones(db)])
  if (row === undefined) {
    throw new SiteError('SITE_BROKEN', 'this site has no policy, so nothing is permitted', {
      remedy: 'Ask an admin to activate a policy.',
    })
  }
  const zones = compileZones(definitions ?? [])
  return { policy: compileOnce(row.text), zoneOf: (address) => zoneOf(zones, parseAddress(address)) }
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
