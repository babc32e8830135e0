import type { Observation } from '#core/evidence/observation.ts'
import type { Suspicions } from '#core/network/index.ts'
import { observe, unknown } from '#core/posture/index.ts'

export const integrity = 'network.integrity'

/** A machine's own word about its network lowers trust only: a network that nothing speaks against is `unknown`. */
export function said(collector: string, suspicions: Suspicions): readonly Observation[] {
  return [
    suspicions.length === 0
      ? unknown(integrity, collector, 'nothing speaks against this network')
      : observe(integrity, 'suspicious', collector, suspicions.join('; ')),
  ]
}
