import { compileApart } from '#adapters/policy-compiler/index.ts'
import {
  activePolicy,
  activePolicyDigest,
  type Db,
  zonesDigest,
  zonesWithDigest,
} from '#adapters/store-postgres/index.ts'
import { type CompiledPolicy, compilePolicy } from '#core/policy/index.ts'
import {
  type BeaconSeen,
  compileZones,
  findZone,
  parseAddress,
  type Zone,
  type ZoneFinding,
} from '#core/trust/index.ts'
import { createTurns } from '../turns.ts'

/** What decides now: the active policy and the zones. */
export interface Rules extends Zones {
  readonly policy: CompiledPolicy
}

interface Zones {
  /** The zone of an address when no beacon has spoken: one that asks for a beacon counts as outside. */
  readonly zoneOf: (address: string) => Zone
  /** @param now Unix time, ms */
  readonly findZone: (address: string, beacon: BeaconSeen | undefined, now: number) => ZoneFinding
}

/** Compiling takes a moment: the last few are kept compiled, by the digest of what they say. */
const policies = new Map<string, Promise<CompiledPolicy>>()
const zones = new Map<string, Zones>()
const most = 4

const noZones = compiledZones([])

/** Reads the rules as they are at this moment: never a cached decision about what is active. */
export async function readRules(db: Db): Promise<Rules> {
  const [policy, zones] = await Promise.all([readPolicy(db), readZones(db)])
  return { policy, ...zones }
}

async function readPolicy(db: Db): Promise<CompiledPolicy> {
  const digest = await activePolicyDigest(db)
  const known = digest === undefined ? undefined : policies.get(digest)
  if (known !== undefined) return known
  const row = await activePolicy(db)
  // INVARIANT I6: what stands in for a policy where there is none permits nothing.
  if (row === undefined) return compilePolicy('')
  return policies.get(row.digest) ?? compiledPolicy(row.text, row.digest)
}

/** One at a time, whoever asks for it. */
const turns = createTurns(1)

/**
 * Compiles a policy that is not active yet, for when it is, or one that is.
 *
 * @param digest undefined while it is not known
 * @throws {PolicyError} when it does not compile
 */
export async function compiledPolicy(text: string, digest?: string): Promise<CompiledPolicy> {
  const compiling = turns.take(() => compileApart(text))
  // Whoever asks meanwhile waits for the same; what failed is asked for anew.
  if (digest !== undefined) keep(policies, digest, compiling)
  try {
    const compiled = await compiling
    keep(policies, compiled.digest, compiling)
    return compiled
  } catch (error) {
    if (digest !== undefined) policies.delete(digest)
    throw error
  }
}

async function readZones(db: Db): Promise<Zones> {
  const digest = await zonesDigest(db)
  const known = digest === undefined ? undefined : zones.get(digest)
  if (known !== undefined) return known
  const row = await zonesWithDigest(db)
  if (row === undefined) return noZones
  const compiled = compiledZones(row.zones)
  keep(zones, row.digest, compiled)
  return compiled
}

function compiledZones(definitions: Parameters<typeof compileZones>[0]): Zones {
  const zones = compileZones(definitions)
  const find = (address: string, beacon: BeaconSeen | undefined, now: number): ZoneFinding =>
    findZone(zones, parseAddress(address), { beacon, now })
  return { zoneOf: (address) => find(address, undefined, 0).zone, findZone: find }
}

function keep<T>(compiled: Map<string, T>, digest: string, fresh: T): void {
  compiled.set(digest, fresh)
  for (const [oldest] of compiled) {
    if (compiled.size <= most) break
    compiled.delete(oldest)
  }
}
