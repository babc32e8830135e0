import { join } from 'node:path'
import { networkCollectors } from '#adapters/network-linux/index.ts'
import { type AgentLog, readIdentity } from '#apps/agent-client/index.ts'
import { quoteOver } from '#apps/agent-client/quote-over.ts'
import { askBeacon } from '#apps/beacon/ask-beacon.ts'
import type { BeaconToAsk } from '#core/agent/endpoint-messages.ts'
import { createCollecting } from './collecting.ts'
import { endpointCollectors, readPostureRules } from './collectors.ts'
import type { ReportSources } from './reporting.ts'

/** Collectors that can watch tell of a change at once; this is for the others. A round costs half a second of a processor. */
const everyMs = 120_000

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
  const site = async (): Promise<{ url: string; rootPem: string }> => {
    const { agentUrl, rootPem } = await readIdentity(dir, 'endpoint')
    return { url: agentUrl, rootPem }
  }
  const rules = await readPostureRules()
  const { dhcpServers } = rules
  const network =
    process.platform === 'linux'
      ? networkCollectors({ memory: join(dir, 'gateways.json'), site, dhcpServers })
      : []
  const collectors = [...(await endpointCollectors(rules)), ...network]
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
