import { type DecisionCause, requestRedecisions } from '#adapters/store-postgres/index.ts'
import type { Site } from '../site.ts'
import { createTurns } from '../turns.ts'

/** Asks for the live sessions that `who` names to be decided again; any node does it, within moments. */
export async function decideAgain(
  site: Pick<Site, 'store' | 'hints' | 'now'>,
  cause: DecisionCause,
  who: {
    readonly personId?: string
    readonly webSessionId?: string
    readonly sessionId?: string
    readonly fromEndpointId?: string
  } = {},
): Promise<void> {
  await asking.take(() => requestRedecisions(site.store.db, cause, new Date(site.now()), who))
  await site.hints.tell({ topic: 'redecide' })
}

/** Each holds a connection while it waits for sessions that are being worked, and that work needs one, too. */
const asking = createTurns(3)
