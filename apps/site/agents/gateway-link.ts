import { createPublicKey } from 'node:crypto'
import type { Logger } from 'pino'
import { agentWentAway, isAway, listAgents, recordReport } from '#adapters/store-postgres/index.ts'
import { gatewayToSite, type SiteToGateway } from '#core/agent/messages.ts'
import { agentSilenceMs } from '../launches/deciding.ts'
import type { Site } from '../site.ts'
import type { AgentLink } from './agent-port.ts'
import { coalesced } from './coalesced.ts'

/** The site's side of one gateway's connection. */
export function createGatewayLink(
  site: Site,
  id: string,
  send: (message: SiteToGateway) => void,
  log: Logger,
): AgentLink {
  const { db } = site.store
  let lastHeard = new Date(0)
  const push = coalesced(
    async () => send(await desiredOf(site)),
    (error) => {
      if (!isAway(error)) log.error({ err: error }, 'what the gateway shall admit could not be said')
    },
  )
  const off = site.hints.on((hint) => {
    if (hint.topic === 'agents' || hint.topic === 'lost') push.ask()
  })
  return {
    receive: async (text) => {
      const message = gatewayToSite.parse(JSON.parse(text))
      lastHeard = new Date(site.now())
      if (message.kind === 'report')
        return recordReport(db, id, lastHeard, { connections: message.connections })
      await recordReport(db, id, lastHeard, { publicUrl: message.publicUrl, agentUrl: message.agentUrl })
      push.ask()
      // Hosts learn where to wait.
      await site.hints.tell({ topic: 'gateways' })
    },
    close: () => {
      off()
      push.stop()
      agentWentAway(db, id, lastHeard, new Date(site.now() - agentSilenceMs)).catch(() => {})
    },
  }
}

async function desiredOf(site: Site): Promise<SiteToGateway> {
  const hosts = await listAgents(site.store.db, 'host')
  return {
    kind: 'desired',
    routeKeys: [rawPublicKey(site)],
    revokedHosts: hosts.filter((host) => host.revoked_at !== null).map((host) => host.id),
  }
}

function rawPublicKey(site: Site): string {
  const { x = '' } = createPublicKey(site.routeKey).export({ format: 'jwk' })
  return x
}
