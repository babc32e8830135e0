import { setTimeout as sleep } from 'node:timers/promises'
import {
  belongingsOf,
  deletePerson,
  deleteWorkspace,
  disownDeleted,
  isAway,
  type Look,
  type PersonRow,
  personById,
  replicasOfDeleted,
  sessionsOfDeleted,
  type Undone,
  workspaceById,
} from '#adapters/store-postgres/index.ts'
import type { DeletionView, WorkspaceDefinition } from '#core/api/admin.ts'
import type { DataCopy } from '#core/api/data.ts'
import type { AuditActor, AuditData } from '#core/audit/leaf.ts'
import { accountOf } from '#core/broker/account.ts'
import { askForDiscards } from '../data/discards.ts'
import { copiesOf } from '../data/read-data.ts'
import { removeReplica } from '../data/replicas.ts'
import { soonerOf } from '../hints.ts'
import { finishSession } from '../launches/live-sessions.ts'
import { oneByOne } from '../one-by-one.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { aboutWorkspace, requireAdminBut } from './administering.ts'
import { adminGroup } from './signed-in.ts'

/**
 * People and workspaces go: entry in the log (I7), then a mark, in one transaction with all that can be taken at once, then what runs and what
 * is to be discarded, by whichever node comes first. A node that dies before the mark has deleted nothing; one that dies after it leaves the
 * rest to another, or to its next start.
 */

/** What the admin decides of what was written. */
export type FateOfData = 'keep' | 'discard'

/**
 * @param look asked before the log is told, and once more when it is done
 * @throws {SiteError} NOT_FOUND; CONFLICT for oneself and for the last admin; what `look` throws
 */
export async function removePerson(
  site: Site,
  id: string,
  data: FateOfData,
  actor: AuditActor & { readonly id: string },
  look?: Look<PersonRow>,
): Promise<DeletionView> {
  if (actor.id === id)
    throw new SiteError('CONFLICT', 'you cannot delete yourself', { remedy: 'Ask another admin to do it.' })
  return oneByOne(site, adminGroup, async () => {
    const { db } = site.store
    const person = await personById(db, id)
    if (person === undefined) throw notFound('person')
    look?.(person)
    await requireAdminBut(site, id)
    const outlook = await personOutlook(site, person)
    await site.audit.record('admin-change', actor, id, {
      change: 'person deleted',
      login: person.login,
      name: person.name,
      data,
      ...inLog(outlook),
    })
    if (!(await deletePerson(db, id, deletionBy(site, data, actor), look))) throw notFound('person')
    return outlook
  })
}

/** @param look as of `removePerson` @throws {SiteError} NOT_FOUND; what `look` throws */
export async function removeWorkspace(
  site: Site,
  id: string,
  data: FateOfData,
  actor: AuditActor & { readonly id: string },
  look?: Look<WorkspaceDefinition>,
): Promise<DeletionView> {
  return oneByOne(site, aboutWorkspace(id), async () => {
    const workspace = await workspaceById(site.store.db, id)
    if (workspace === undefined) throw notFound('workspace')
    look?.(workspace)
    const outlook = await workspaceOutlook(site, id)
    await site.audit.record('admin-change', actor, id, {
      change: 'workspace deleted',
      workspace: id,
      name: workspace.name,
      data,
      ...inLog(outlook),
    })
    if (!(await deleteWorkspace(site.store.db, id, deletionBy(site, data, actor), look)))
      throw notFound('workspace')
    return outlook
  })
}

/** What deleting would lead to now. */
export async function personOutlook(
  site: Site,
  person: Pick<PersonRow, 'id' | 'login'>,
): Promise<DeletionView> {
  const [copies, { endpoints, hosts }] = await Promise.all([
    copiesOf(site, { personId: person.id }),
    belongingsOf(site.store.db, person.id),
  ])
  const account = accountOf(site.accountsOf, person)
  const hostsOutOfReach = namesOf(hosts.filter((host) => !host.hearsDiscards))
  return { ...outlookOf(copies), person: { endpoints, account, hosts: namesOf(hosts), hostsOutOfReach } }
}

export async function workspaceOutlook(site: Site, workspaceId: string): Promise<DeletionView> {
  const copies = await copiesOf(site, { workspaceId })
  return outlookOf(copies.filter(isOfWorkspace))
}

/** What was written on a disk is of its person and image: other workspaces open it, too. */
function isOfWorkspace({ state, mode }: DataCopy): boolean {
  return mode === 'local-vm' || (state !== 'replicated' && state !== 'kept')
}

function namesOf(hosts: readonly { readonly name: string }[]): string[] {
  return [...new Set(hosts.map(({ name }) => name))]
}

function outlookOf(copies: readonly DataCopy[]): DeletionView {
  const kept = copies.filter(({ state }) => state === 'kept')
  const replicas = copies.flatMap(({ replica }) => (replica === undefined ? [] : [replica.sizeBytes]))
  return {
    sessions: copies.filter(({ machine }) => machine.kind === 'host').length,
    leases: copies.filter(({ state }) => state === 'offered' || state === 'held').length,
    overlays: {
      count: kept.length,
      sizeBytes: sum(kept.map(({ stats }) => stats?.bytesWritten ?? 0)),
      outOfReach: kept.filter(({ machine }) => machine.outOfReach === true).length,
    },
    replicas: { count: replicas.length, sizeBytes: sum(replicas) },
  }
}

function inLog({ sessions, leases, overlays, replicas, person }: DeletionView): Record<string, AuditData> {
  return {
    sessions,
    leases,
    overlays: overlays.count,
    replicas: replicas.count,
    ...(person === undefined ? {} : { endpoints: person.endpoints, account: person.account }),
  }
}

function deletionBy(site: Site, data: FateOfData, actor: { readonly id: string }) {
  return { at: new Date(site.now()), by: actor.id, discards: data === 'discard' }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

const sweepMs = 60_000

/** Does what deletions have left to do, until `signal`. Every node runs this; the store sees to it that each piece is done once. */
export async function watchDeletions(site: Site, signal: AbortSignal): Promise<void> {
  let woken = Promise.withResolvers<void>()
  const off = site.hints.on(({ topic }) => {
    if (topic === 'deleted' || topic === 'lost') woken.resolve()
  })
  signal.addEventListener('abort', () => woken.resolve(), { once: true })
  while (!signal.aborted) {
    woken = Promise.withResolvers<void>()
    try {
      while ((await finishDeletions(site)) > 0);
      await soonerOf(woken.promise, sweepMs)
    } catch (error) {
      if (!isAway(error)) site.log.error({ err: error }, 'what a deletion has left could not be done')
      await sleep(500)
    }
  }
  off()
}

/** INVARIANT: any number of nodes may do this at once, and each may end in the middle. @returns how much was found to do */
export async function finishDeletions(site: Site): Promise<number> {
  const { db } = site.store
  await disownDeleted(db)
  // What still runs may write: it goes first.
  const sessions = await workOff(await sessionsOfDeleted(db), (undone) =>
    finishSession(site, undone.id, ends[undone.deleted], actorOf(undone)),
  )
  const replicas = await workOff(await replicasOfDeleted(db), (undone) =>
    removeReplica(site, undone.id, ends[undone.deleted].reason, actorOf(undone)),
  )
  return sessions + replicas + (await askForDiscards(site))
}

/** @throws the first failure, after the others were worked */
async function workOff(
  found: readonly Undone[],
  work: (undone: Undone) => Promise<unknown>,
): Promise<number> {
  const failures: unknown[] = []
  for (const undone of found) await work(undone).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
  return found.length
}

const ends = {
  person: { code: 'SESSION_PERSON_DELETED', reason: 'This account was deleted' },
  workspace: { code: 'SESSION_WORKSPACE_DELETED', reason: 'This workspace was deleted' },
} as const

function actorOf({ deletedBy }: Undone): AuditActor {
  return { type: 'admin', id: deletedBy }
}
