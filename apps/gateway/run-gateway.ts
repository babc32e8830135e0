import { z } from 'zod'
import { serverTls } from '#adapters/pki-x509/index.ts'
import { agentOrigin, type GatewayToSite, type SiteToGateway, siteToGateway } from '#core/agent/messages.ts'
import {
  type AgentIdentity,
  type AgentLog,
  connectToSite,
  keepRenewed,
  readIdentity,
} from '../agent-client/index.ts'
import { createGateway, type Gateway, type GatewayTls } from './gateway.ts'
import { defaultLimits } from './limits.ts'
import { WantedState } from './wanted-state.ts'

const listen = z.strictObject({ address: z.string().max(64), port: z.int().min(0).max(65535) })

/** The configuration file of a gateway. */
export const gatewayConfig = z.strictObject({
  /** Folder that holds the identity that enrolment left there. */
  state: z.string(),
  people: listen,
  agents: listen,
  /** Where people's clients and hosts reach this gateway. */
  publicUrl: agentOrigin,
  agentUrl: agentOrigin,
  /** Origins of the site, as browsers see it. */
  allowedOrigins: z.array(z.string().max(300)).min(1).max(20),
  limits: z
    .strictObject({
      connections: z.int().min(1).default(defaultLimits.connections),
      connectionsPerSource: z.int().min(1).default(defaultLimits.connectionsPerSource),
      sparesPerHost: z.int().min(1).default(defaultLimits.sparesPerHost),
    })
    .prefault({}),
})
export type GatewayConfig = z.infer<typeof gatewayConfig>

const lookMs = 1000
const looksPerReport = 5

/** What one gateway is started with. */
export interface GatewayRun {
  readonly config: GatewayConfig
  readonly version: string
  readonly log: AgentLog
  /** Called once, when both ports serve. */
  readonly onReady?: (gateway: Gateway) => void
}

/**
 * Runs a gateway until the signal. What the site wants is kept on disk too: a gateway that starts while no site answers
 * goes on from there.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED
 */
export async function runGateway(run: GatewayRun, signal: AbortSignal): Promise<void> {
  const { config, log } = run
  const dir = config.state
  const identity = await readIdentity(dir, 'gateway')
  const wanted = new WantedState(dir, log)
  await wanted.load()
  const gateway = await createGateway({
    siteId: identity.siteId,
    ...tlsOf(identity),
    listen: { people: config.people, agents: config.agents },
    routeKeys: () => wanted.routeKeys,
    isRevoked: (host) => wanted.isRevoked(host),
    allowedOrigins: config.allowedOrigins,
    log,
    clock: Date.now,
    limits: { ...defaultLimits, ...config.limits },
  })
  const onRenewed = (renewed: AgentIdentity): void => gateway.setTls(tlsOf(renewed))
  try {
    run.onReady?.(gateway)
    await Promise.all([serveSite(run, gateway, wanted, signal), keepRenewed({ dir, onRenewed, log }, signal)])
  } finally {
    await gateway.close()
    await wanted.saved()
  }
}

async function serveSite(
  { config, version, log }: GatewayRun,
  gateway: Gateway,
  wanted: WantedState,
  signal: AbortSignal,
): Promise<void> {
  const { state: dir, publicUrl, agentUrl } = config
  const report = (): GatewayToSite => ({
    kind: 'report',
    connections: gateway.connections,
    hosts: gateway.hosts(),
  })
  const hello = (): GatewayToSite[] => [{ kind: 'hello', publicUrl, agentUrl, version }, report()]
  const onMessage = (desired: SiteToGateway): void => {
    for (const host of wanted.set(desired)) gateway.closeHost(host)
  }
  const site = connectToSite({ dir, decode: siteToGateway, onMessage, hello, log }, signal)
  let told = ''
  let looks = 0
  const looking = setInterval(() => {
    const message = report()
    const text = JSON.stringify(message)
    if (text === told && ++looks % looksPerReport > 0) return
    if (site.send(message)) told = text
  }, lookMs)
  await site.done
  clearInterval(looking)
}

function tlsOf(identity: AgentIdentity): GatewayTls {
  return { peopleTls: serverTls(identity), agentTls: serverTls(identity, identity.rootPem) }
}
