import { setTimeout as sleep } from 'node:timers/promises'
import { isAway } from '#adapters/store-postgres/index.ts'
import { evidencePeriodMs } from '#core/evidence/index.ts'
import type { Site } from '../site.ts'
import { type Alarm, nodeName, raise, settle } from './alarms.ts'
import { judgeBrake } from './brake.ts'
import type { EvidenceDesk } from './evidence-desk.ts'
import { judgeClock } from './node-clock.ts'

const watchMs = 2_000
/** Evidence that waits longer to be written means that this node does not keep up. */
const longestLagMs = 30_000
/** Longer than a connection whose other end is gone, such as that of a device that sleeps, can go on here. */
const longestSilenceMs = 3 * evidencePeriodMs

/** Watches over the evidence itself until the signal: a fall of many, a verifier that does not do its work, and a clock that is wrong. Every node runs this. */
export async function watchEvidence(site: Site, desk: EvidenceDesk, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await sleep(watchMs, undefined, { signal })
      await judgeBrake(site)
      await judgeClock(site)
      for (const [alarm, stands] of verifierAlarms(site, desk))
        await (stands ? raise(site, alarm) : settle(site, alarm.key))
    } catch (error) {
      if (!signal.aborted && !isAway(error))
        site.log.error({ err: error }, 'the evidence could not be watched over')
    }
  }
}

/** Each alarm about this node's verifier, and whether it stands. */
function verifierAlarms(site: Site, desk: EvidenceDesk): readonly (readonly [Alarm, boolean])[] {
  const node = nodeName(site)
  const { refused, lagMs, silentMs } = desk.health()
  const kind = 'verifier'
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
        remedy: 'Look at the log of this node, and at its load and that of the database.',
      },
      lagMs > longestLagMs,
    ],
    [
      {
        key: `verifier-silent:${node}`,
        kind,
        message: `Node ${node} accepted no evidence of any device for three minutes, although devices are connected to it`,
        remedy:
          'Look at the logs of this node and of one device: no device there counts as reporting any more.',
      },
      silentMs > longestSilenceMs,
    ],
  ]
}
