import { createPublicKey } from 'node:crypto'
import { agentWentAway, listAgents, recordReport } from '#adapters/store-postgres/index.ts'
import { gatewayToSite, type SiteToGateway } from '#core/agent/messages.ts'
import { agentSilenceMs } from '../deciding.ts'
import type { Site } from '../site.ts'
import type { AgentLink } from './agent-port.ts'

/** The site's side of one gateway's connection. */
export function createGatewayLink(site: Site, id: string, send: (message: SiteToGateway) => void): AgentLink {
  const { db } = site.store
  let lastHeard = new Date(0)
  const push = async (): Promise<void> => {
    const hosts = await listAgents(db, 'host')
    send({
      kind: 'desired',
      routeKeys: [rawPublicKey(site)],
      revokedHosts: hosts.filter((host) => host.revoked_at !== null).map((host) => host.id),
    })
  }
  const off = site.hints.on((hint) => {
    if (hint.topic === 'agents' || hint.topic === 'lost') push().catch(() => {})
  })
  return {
    receive: async (text) => {
      const message = gatewayToSite.parse(JSON.parse(text))
      lastHeard = new Date(site.now())
      if (message.kind === 'report')
        return recordReport(db, id, lastHeard, { connections: message.connections })
      await recordReport(db, id, lastHeard, { publicUrl: message.publicUrl, agentUrl: message.agentUrl })
      await push()
      // Hosts learn where to wait.
      await site.hints.tell({ topic: 'gateways' })
    },
    close: () => {
      off()
      agentWentAway(db, id, lastHeard, new Date(site.now() - agentSilenceMs)).catch(() => {})
    },
  }
}

function rawPublicKey(site: Site): string {
  const { x = '' } = createPublicKey(site.routeKey).export({ format: 'jwk' })
  return x
}
