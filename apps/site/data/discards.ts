import {
  awaitedDiscards,
  type DiscardDetail,
  noteDiscardAsked,
  recordDiscarded,
  unaskedDiscards,
} from '#adapters/store-postgres/index.ts'
import { mostDiscards, type WrittenHere } from '#core/agent/endpoint-messages.ts'
import { mostAccounts } from '#core/agent/messages.ts'
import { accountOf } from '#core/broker/account.ts'
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
      await site.audit.record(
        'discard-asked',
        { type: 'admin', id: by },
        discard.agent_id,
        inLog(site, discard),
      )
      await noteDiscardAsked(db, discard, new Date(site.now()))
      await tellMachine(site, discard.kind, discard.told_id)
    }
  })
  return found.length
}

/** What an endpoint shall discard now. */
export async function discardsOf(site: Site, endpointId: string): Promise<WrittenHere[]> {
  return (await awaitedDiscards(site.store.db, endpointId, mostDiscards)).map(writtenOf)
}

/** Accounts whose homes a host shall remove now. */
export async function homesToDiscard(site: Site, hostId: string): Promise<string[]> {
  return (await awaitedDiscards(site.store.db, hostId, mostAccounts)).map((one) => accountFor(site, one))
}

export async function noteDiscarded(
  site: Site,
  endpointId: string,
  written: readonly WrittenHere[],
): Promise<void> {
  await noteGone(site, endpointId, ({ person_id, scope }) =>
    written.some(({ personId, workspaceId = '' }) => personId === person_id && workspaceId === scope),
  )
}

export async function noteHomesDiscarded(
  site: Site,
  hostId: string,
  accounts: readonly string[],
): Promise<void> {
  await noteGone(site, hostId, (one) => accounts.includes(accountFor(site, one)))
}

/** INVARIANT: a machine can only speak about what it was told. */
async function noteGone(
  site: Site,
  agentId: string,
  isSaid: (discard: DiscardDetail) => boolean,
): Promise<void> {
  const { db } = site.store
  await oneByOne(site, `discards of ${agentId}`, async () => {
    for (const discard of (await awaitedDiscards(db, agentId, mostDiscards)).filter(isSaid)) {
      const { kind: type, person_id } = discard
      await site.audit.record('discarded', { type, id: agentId }, person_id, inLog(site, discard))
      await recordDiscarded(db, discard, new Date(site.now()))
      await tellMachine(site, type, agentId)
    }
  })
}

/** It hears what is left, and whoever looks where data is sees it. */
async function tellMachine(site: Site, kind: DiscardDetail['kind'], id: string): Promise<void> {
  await site.hints.tell({ topic: kind === 'host' ? 'host' : 'endpoint', id })
}

function accountFor(site: Site, { person_id: id, login }: DiscardDetail): string {
  return accountOf(site.accountsOf, { id, login })
}

function writtenOf({ person_id, scope }: DiscardDetail): WrittenHere {
  return { personId: person_id, ...(scope === '' ? {} : { workspaceId: scope }) }
}

function inLog(site: Site, discard: DiscardDetail) {
  const { kind, agent_id, person_id: person, scope } = discard
  if (kind === 'host') return { host: agent_id, person, account: accountFor(site, discard) }
  return { endpoint: agent_id, person, ...(scope === '' ? {} : { workspace: scope }) }
}
