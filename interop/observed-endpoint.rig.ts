import type { Observer } from '#apps/endpoint/reporting.ts'
import type { Observation } from '#core/evidence/index.ts'
import type { ClaimName } from '#core/trust/index.ts'

/** What a device sees of itself, as a test says: beside it everything else of the endpoint is real. */
export interface ToldObserver extends Observer {
  /** From now on it sees this, too. */
  see(claim: ClaimName, value: string): void
}

export function toldObserver(
  values: Readonly<Partial<Record<ClaimName, string>>> = {
    'endpoint.antivirus': 'on',
    'endpoint.firewall': 'on',
  },
): ToldObserver {
  const listeners = new Set<() => void>()
  const seen = new Map(Object.entries(values) as [ClaimName, string][])
  return {
    collected: Promise.resolve(),
    latest: () =>
      [...seen].map(
        ([claim, value]): Observation => ({ claim, value, collector: 'test', detail: `it is ${value}` }),
      ),
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    see: (claim, value) => {
      seen.set(claim, value)
      for (const listener of listeners) listener()
    },
  }
}
