import {
  type AgentRow,
  agentById,
  type BootRecord,
  personByLogin,
  setOwner,
} from '#adapters/store-postgres/index.ts'
import type { BootView } from '#core/api/device-keys.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { changeKnowledge, knowledgeOf } from '../evidence/evidence.ts'
import type { Site } from '../site.ts'
import { nobodyCalled, notFound, SiteError } from '../site-error.ts'
import { bootId, changeBoot, changesOf } from './attesting.ts'

/** Whose an endpoint is and what it may have booted: what admins keep of the inventory. */

/** @param login of the new owner, or null for nobody @throws {SiteError} NOT_FOUND */
export async function changeOwner(
  site: Site,
  id: string,
  login: string | null,
  actor: AuditActor,
): Promise<void> {
  const { db } = site.store
  const endpoint = await endpointById(site, id)
  const person = login === null ? undefined : await personByLogin(db, login)
  if (login !== null && person === undefined) throw nobodyCalled(login, 'owner')
  await site.audit.record('admin-change', actor, id, {
    change: 'owner',
    name: endpoint.name,
    owner: person?.id ?? null,
  })
  await setOwner(db, id, person?.id ?? null, false)
}

/** An endpoint without an owner becomes that of the first person who opens something from it. */
export async function adoptEndpoint(
  site: Site,
  endpoint: Pick<AgentRow, 'id' | 'name' | 'owner_id'> | undefined,
  personId: string,
): Promise<void> {
  if (endpoint === undefined || endpoint.owner_id !== null) return
  const actor = { type: 'person', id: personId } as const
  await site.audit.record('admin-change', actor, endpoint.id, {
    change: 'owner',
    name: endpoint.name,
    owner: personId,
    why: 'first launch',
  })
  await setOwner(site.store.db, endpoint.id, personId, true)
}

/**
 * What the endpoint booted is what is expected of it from now on.
 *
 * @param boot which boot the admin was shown @throws {SiteError} NOT_FOUND, CONFLICT when it booted something else meanwhile
 */
export async function acceptBoot(site: Site, id: string, boot: string, actor: AuditActor): Promise<void> {
  await changeBoot(site, id, async ({ name, boot: record }) => {
    if (record === null || bootId(record.current) !== boot)
      throw new SiteError('CONFLICT', `${name} has booted something else meanwhile`, {
        remedy: 'Look at what differs again.',
      })
    await site.audit.record('admin-change', actor, id, {
      change: 'boot accepted',
      name,
      boot,
      difference: (changesOf(record) ?? []).slice(0, 50),
    })
    return { ...record, baseline: record.current }
  })
  // What it attested last is so at once, not only when it reports again.
  await changeKnowledge(
    site,
    id,
    (before) => {
      const knowledge = knowledgeOf(before)
      if (knowledge.attested?.bootState !== 'changed') return undefined
      const attested = {
        ...knowledge.attested,
        bootState: 'expected',
        detail: 'accepted by an admin',
      } as const
      return { knowledge: { ...knowledge, attested } }
    },
    actor,
  )
}

export function bootViewOf(record: BootRecord): BootView {
  const difference = changesOf(record)
  return {
    id: bootId(record.current),
    state: difference === undefined ? 'expected' : 'changed',
    secureBoot: record.current.secureBoot ?? 'unknown',
    difference: [...(difference ?? [])],
    since: record.since,
  }
}

async function endpointById(site: Site, id: string): Promise<AgentRow> {
  const row = await agentById(site.store.db, id)
  if (row?.kind !== 'endpoint') throw notFound('endpoint')
  return row
}
