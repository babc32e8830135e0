import {
  awaitedDiscards,
  type Discard,
  noteDiscardAsked,
  recordDiscarded,
  unaskedDiscards,
} from '#adapters/store-postgres/index.ts'
import { mostDiscards, type WrittenHere } from '#core/agent/endpoint-messages.ts'
import { oneByOne } from '../one-by-one.ts'
import type { Site } from '../site.ts'

/**
 * What deletions discard on machines that the site reaches only when they come: asked for in the log (I7), then said to the machine until that
 * says that it is gone, which is in the log before it counts.
 */

/** @returns how much was found to ask for */
export async function askForDiscards(site: Site): Promise<number> {
  const { db } = site.store
  const found = await unaskedDiscards(db)
  if (found.length === 0) return 0
  await oneByOne(site, 'discards', async () => {
    for (const { by, ...discard } of await unaskedDiscards(db)) {
      const { agent_id: id } = discard
      await site.audit.record('discard-asked', { type: 'admin', id: by }, id, inLog(discard))
      await noteDiscardAsked(db, discard, new Date(site.now()))
      await site.hints.tell({ topic: 'endpoint', id })
    }
  })
  return found.length
}

/** What an endpoint shall discard now. */
export async function discardsOf(site: Site, endpointId: string): Promise<WrittenHere[]> {
  return (await awaitedDiscards(site.store.db, endpointId, mostDiscards)).map(writtenOf)
}

/** INVARIANT: an endpoint can only speak about what it was told. */
export async function noteDiscarded(
  site: Site,
  endpointId: string,
  written: readonly WrittenHere[],
): Promise<void> {
  const { db } = site.store
  const isSaid = ({ person_id, scope }: Discard): boolean =>
    written.some(({ personId, workspaceId = '' }) => personId === person_id && workspaceId === scope)
  await oneByOne(site, `discards of ${endpointId}`, async () => {
    for (const discard of (await awaitedDiscards(db, endpointId, mostDiscards)).filter(isSaid)) {
      const actor = { type: 'endpoint', id: endpointId } as const
      await site.audit.record('discarded', actor, discard.person_id, inLog(discard))
      await recordDiscarded(db, discard, new Date(site.now()))
    }
  })
  await site.hints.tell({ topic: 'endpoint', id: endpointId })
}

function writtenOf({ person_id, scope }: Discard): WrittenHere {
  return { personId: person_id, ...(scope === '' ? {} : { workspaceId: scope }) }
}

function inLog({ agent_id, person_id, scope }: Discard) {
  return { endpoint: agent_id, person: person_id, ...(scope === '' ? {} : { workspace: scope }) }
}
