import type { Collector, Observation } from '#core/evidence/observation.ts'

/** A collector that notices by itself when somebody should look again. */
export interface WatchingCollector extends Collector {
  /**
   * Calls `changed` within 2 s whenever what it looks at may have changed, until `signal` ends. May call too often, never throws, and costs
   * next to nothing while nothing changes.
   */
  watch?(changed: () => void, signal: AbortSignal): void
}

/** A wrapper for what is costly to look at: what was seen last is told again for so long. Failures are not kept. */
export function atMostEvery(
  periodMs: number,
  collector: WatchingCollector,
  now: () => number,
): WatchingCollector {
  let last: { readonly at: number; readonly seen: readonly Observation[] } | undefined
  return {
    ...collector,
    collect: async (signal) => {
      if (last === undefined || now() - last.at >= periodMs || now() < last.at)
        last = { at: now(), seen: await collector.collect(signal) }
      return last.seen
    },
  }
}
