import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAway, newestEvidence } from '#adapters/store-postgres/index.ts'
import { evidenceSilenceMs } from '#core/evidence/index.ts'
import { type Alarm, raise, settle } from './alarms.ts'
import { judgeBrake } from './brake.ts'
import type { EvidenceDesk } from './evidence-desk.ts'
import type { Site } from './site.ts'

const watchMs = 2_000
/** Evidence that waits longer to be written means that this node does not keep up. */
const longestLagMs = 30_000

/** Watches over the evidence itself until the signal: a fall of many, and a verifier that does not do its work. Every node runs this. */
export async function watchEvidence(site: Site, desk: EvidenceDesk, signal: AbortSignal): Promise<void> {
  const startedAt = site.now()
  while (!signal.aborted) {
    try {
      await sleep(watchMs, undefined, { signal })
      await judgeBrake(site)
      for (const [alarm, stands] of await verifierAlarms(site, desk, startedAt))
        await (stands ? raise(site, alarm) : settle(site, alarm.key))
    } catch (error) {
      if (!signal.aborted && !isAway(error))
        site.log.error({ err: error }, 'the evidence could not be watched over')
    }
  }
}

/** Each alarm about this node's or the site's verifier, and whether it stands. */
async function verifierAlarms(
  site: Site,
  desk: EvidenceDesk,
  startedAt: number,
): Promise<readonly (readonly [Alarm, boolean])[]> {
  const node = `${hostname()}:${site.config.agents.port}`
  const { reporting, refused, lagMs } = desk.health()
  const kind = 'verifier'
  const since = Math.max(startedAt, (await newestEvidence(site.store.db))?.getTime() ?? 0)
  return [
    [
      {
        key: `verifier-refuses:${node}`,
        kind,
        message: `Node ${node} took no evidence of ${refused} devices within five minutes`,
        remedy: 'Look in the audit log for evidence-refused: what the codes have in common is the cause.',
      },
      refused >= site.config.brake.endpoints,
    ],
    [
      {
        key: `verifier-lags:${node}`,
        kind,
        message: `Evidence waits ${Math.round(lagMs / 1000)} s on node ${node} before it is written down`,
        remedy: 'Look at the load of this node and of the database.',
      },
      lagMs > longestLagMs,
    ],
    [
      {
        key: 'verifier-silent',
        kind,
        message: 'No evidence of any device was accepted for two minutes, although devices are connected',
        remedy: 'Look at the logs of the nodes and of one device: no device counts as reporting any more.',
      },
      reporting > 0 && site.now() - since > evidenceSilenceMs,
    ],
  ]
}
