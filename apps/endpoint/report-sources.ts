import { join } from 'node:path'
import { networkCollectors } from '#adapters/network-linux/index.ts'
import { type AgentIdentity, type AgentLog, hasNoIdentity, readIdentity } from '#apps/agent-client/index.ts'
import { quoteOver } from '#apps/agent-client/quote-over.ts'
import { askBeacon } from '#apps/beacon/ask-beacon.ts'
import type { BeaconToAsk } from '#core/agent/endpoint-messages.ts'
import type { PostureRules, WatchingCollector } from '#core/posture/index.ts'
import { createCollecting } from './collecting.ts'
import { endpointCollectors, readPostureRules } from './collectors.ts'
import type { ReportSources } from './reporting.ts'

/** Collectors that can watch tell of a change at once; this is for the others. A round costs half a second of a processor. */
const everyMs = 120_000

/**
 * Everything that looks at this machine and at the network that it is in. INVARIANT: what a report says of the machine comes from these,
 * and `trustcast posture` shows what these say.
 *
 * @param options.dir the endpoint's state folder; whoever may not read it looks without its site
 * @param options.isLookOnly leaves what is remembered there as it is
 */
export async function machineCollectors(options: {
  readonly dir: string
  readonly rules: PostureRules
  readonly isLookOnly?: boolean
}): Promise<readonly WatchingCollector[]> {
  const { dir, rules, isLookOnly = false } = options
  const { dhcpServers } = rules
  const site = async (): Promise<{ url: string; rootPem: string } | undefined> => {
    const identity = await identityIn(dir)
    return identity && { url: identity.agentUrl, rootPem: identity.rootPem }
  }
  const network =
    process.platform === 'linux'
      ? networkCollectors({ memory: join(dir, 'gateways.json'), isLookOnly, site, dhcpServers })
      : []
  return [...(await endpointCollectors(rules)), ...network]
}

async function identityIn(dir: string): Promise<AgentIdentity | undefined> {
  return readIdentity(dir, 'endpoint').catch((error: unknown) => {
    if (hasNoIdentity(error)) return undefined
    throw error
  })
}

/**
 * All that this machine can say of itself: what its collectors see, its TPM's quotes, and the word of a beacon where its zone asks for one.
 *
 * @param options.dir the endpoint's state folder
 * @throws {ConfigError} for rules that are none
 */
export async function reportOfMachine({
  dir,
  log,
}: {
  readonly dir: string
  readonly log: AgentLog
}): Promise<ReportSources & AsyncDisposable> {
  const collectors = await machineCollectors({ dir, rules: await readPostureRules() })
  const collecting = createCollecting({ collectors, everyMs, log })
  return {
    observers: [collecting],
    quoteOver: (extraData, options) => quoteOver(dir, extraData, options),
    askBeacon: (beacons, nonce) => askEach(dir, beacons, nonce, log),
    [Symbol.asyncDispose]: () => collecting[Symbol.asyncDispose](),
  }
}

/** The first that answers. */
async function askEach(
  dir: string,
  beacons: readonly BeaconToAsk[],
  nonce: string,
  log: AgentLog,
): Promise<string | undefined> {
  const identity = await readIdentity(dir, 'endpoint')
  for (const { url, key } of beacons) {
    try {
      return await askBeacon({ url, key, nonce, identity }, AbortSignal.timeout(10_000))
    } catch (error) {
      log.warn({ err: error, beacon: url }, 'a beacon did not answer')
    }
  }
  return undefined
}
