import { randomUUID } from 'node:crypto'
import {
  type Basis,
  deleteWebSessionsOf,
  insertPerson,
  insertPolicy,
  isGroupEmpty,
  isWorkspaceDeleted,
  nextPosition,
  type PersonRow,
  type PolicyRow,
  personById,
  personByLogin,
  setDraining,
  updatePerson,
  writeWorkspace,
  writeZones,
} from '#adapters/store-postgres/index.ts'
import type { WorkspaceDefinition, ZoneDefinition } from '#core/api/admin.ts'
import type { AuditActor, AuditData } from '#core/audit/leaf.ts'
import { prepareNewPassword } from '#core/identity/password.ts'
import { compileZones } from '#core/trust/index.ts'
import { decideAgain } from '../launches/decide-again.ts'
import { compiledPolicy } from '../launches/rules.ts'
import { oneByOne } from '../one-by-one.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { adminGroup } from './signed-in.ts'

/** What admins change. INVARIANT I7: each change is in the audit log before it takes effect; what depends on it is decided again. */

export async function createPerson(
  site: Site,
  wish: {
    readonly login: string
    readonly name: string
    readonly password: string
    readonly groups: readonly string[]
  },
  actor: AuditActor,
): Promise<PersonRow> {
  const taken = new SiteError('CONFLICT', `there is a person called ${wish.login} already`, {
    remedy: 'Choose another user name.',
    field: 'login',
  })
  // Before it is written down: of two at once the later one is refused below.
  if ((await personByLogin(site.store.db, wish.login)) !== undefined) throw taken
  const password = await site.hasher.hash(prepareNewPassword(wish.password, [wish.login, wish.name]))
  const row = {
    id: randomUUID(),
    login: wish.login,
    name: wish.name,
    password,
    groups: [...wish.groups],
    created_at: new Date(site.now()),
  }
  await site.audit.record('admin-change', actor, row.id, {
    change: 'person created',
    login: row.login,
    name: row.name,
    groups: row.groups,
  })
  const person = await insertPerson(site.store.db, row)
  if (person === undefined) throw taken
  return person
}

export async function changePerson(
  site: Site,
  id: string,
  patch: {
    readonly name?: string | undefined
    readonly groups?: readonly string[] | undefined
    readonly disabled?: boolean | undefined
    readonly password?: string | undefined
  },
  actor: AuditActor,
): Promise<PersonRow> {
  const before = await personById(site.store.db, id)
  if (before === undefined) throw notFound('person')
  const isNoAdmin =
    patch.disabled === true || (patch.groups !== undefined && !patch.groups.includes(adminGroup))
  if (isNoAdmin && actor.id === id) {
    throw new SiteError('CONFLICT', 'you cannot take the admin right from yourself', {
      remedy: 'Ask another admin to do it.',
    })
  }
  const change = {
    ...(patch.name === undefined ? {} : { name: patch.name }),
    ...(patch.groups === undefined ? {} : { groups: [...patch.groups] }),
    ...(patch.disabled === undefined ? {} : { disabled: patch.disabled }),
    ...(patch.password === undefined
      ? {}
      : {
          password: await site.hasher.hash(prepareNewPassword(patch.password, [before.login, before.name])),
        }),
  }
  const write = (): Promise<PersonRow> => writePerson(site, id, change, actor)
  const row = isNoAdmin
    ? await oneByOne(site, adminGroup, async () => {
        await requireAdminBut(site, id)
        return write()
      })
    : await write()
  await decideAgain(site, 'group', { personId: id })
  await site.hints.tell({ topic: 'person', id })
  return row
}

/** Two admins may take the right from each other at the same moment. */
export async function requireAdminBut(site: Site, id: string): Promise<void> {
  if (!(await isGroupEmpty(site.store.db, adminGroup, id))) return
  throw new SiteError('CONFLICT', 'nobody would be left who is an admin', {
    remedy: 'Give somebody else the admin right first.',
  })
}

async function writePerson(
  site: Site,
  id: string,
  change: Parameters<typeof updatePerson>[2],
  actor: AuditActor,
): Promise<PersonRow> {
  const { password, ...visible } = change
  await site.audit.record('admin-change', actor, id, {
    change: 'person changed',
    ...visible,
    ...(password === undefined ? {} : { password: 'changed' }),
  })
  const row = await site.store.db.transaction().execute(async (tx) => {
    const changed = await updatePerson(tx, id, change)
    // A new password or a disabled account must not leave old sign-ins behind; after the change, so that none slips in between.
    if (change.disabled === true || password !== undefined) await deleteWebSessionsOf(tx, id)
    return changed
  })
  if (row === undefined) throw notFound('person')
  return row
}

export function changedMeanwhile(what: string): SiteError {
  return new SiteError('CONFLICT', `somebody else has changed ${what} meanwhile`, {
    remedy: 'Look at what is there now; then send yours again, if it still holds.',
  })
}

/** What a workspace is called in what is said, and done one by one, of it. */
export function aboutWorkspace(id: string): string {
  return `the workspace ${id}`
}

/** Looks at what is there before it is replaced, and throws where it must not be. */
type BasisOf<T> = (() => Promise<Basis<T> | undefined>) | undefined

/**
 * Replaces something that is looked at before. Of several at once each looks when those before it are done, so that the log is told of
 * what takes effect alone; the write compares once more.
 */
async function replace<T>(
  site: Site,
  what: string,
  basisOf: BasisOf<T>,
  write: (basis: Basis<T> | undefined) => Promise<boolean>,
): Promise<void> {
  await oneByOne(site, what, async () => {
    if (!(await write(await basisOf?.()))) throw changedMeanwhile(what)
  })
}

/** @throws {PolicyError} when it does not compile: then nothing changed; {SiteError} CONFLICT */
export async function activatePolicy(
  site: Site,
  text: string,
  by: string,
  actor: AuditActor,
  basisOf?: BasisOf<PolicyRow>,
): Promise<void> {
  const { digest } = await compiledPolicy(text)
  await replace(site, 'the policy', basisOf, async (basis) => {
    await site.audit.record('policy-activated', actor, undefined, { digest })
    const row = { text, digest, activated_at: new Date(site.now()), activated_by: by }
    return insertPolicy(site.store.db, row, basis)
  })
  await site.hints.tell({ topic: 'policy' })
  await decideAgain(site, 'policy')
}

/** @throws {ZoneError | AddressError} when they do not compile: then nothing changed; {SiteError} CONFLICT */
export async function changeZones(
  site: Site,
  zones: readonly ZoneDefinition[],
  actor: AuditActor,
  basisOf?: BasisOf<readonly ZoneDefinition[]>,
): Promise<void> {
  compileZones(zones)
  const change = {
    change: 'zones',
    zones: zones.map(({ name, kind, networks, vpn = false, beacon }) => ({
      name,
      kind,
      networks,
      vpn,
      // The log keeps whole numbers only.
      beacon:
        beacon === undefined
          ? null
          : { key: beacon.key, url: beacon.url, maxRttMicroseconds: Math.round(beacon.maxRttMs * 1000) },
    })),
  }
  await replace(site, 'the networks', basisOf, async (basis) => {
    await site.audit.record('admin-change', actor, undefined, change)
    return writeZones(site.store.db, zones, basis)
  })
  await site.hints.tell({ topic: 'zones' })
  await decideAgain(site, 'zone')
}

/** @throws {SiteError} CONFLICT */
export async function defineWorkspace(
  site: Site,
  workspace: WorkspaceDefinition,
  actor: AuditActor,
  basisOf?: BasisOf<WorkspaceDefinition>,
): Promise<WorkspaceDefinition> {
  await replace(site, aboutWorkspace(workspace.id), basisOf, async (basis) => {
    const position = await nextPosition(site.store.db)
    // Before it is written down: of two at once the later one is refused.
    if (await isWorkspaceDeleted(site.store.db, workspace.id)) throw usedBefore(workspace.id)
    await site.audit.record('admin-change', actor, workspace.id, {
      change: 'workspace',
      definition: JSON.parse(JSON.stringify(workspace)) as AuditData,
    })
    return writeWorkspace(site.store.db, workspace, position, basis)
  })
  await site.hints.tell({ topic: 'workspaces' })
  await decideAgain(site, 'policy')
  return workspace
}

function usedBefore(id: string): SiteError {
  return new SiteError('CONFLICT', `a workspace ${id} was deleted, and its identifier is never used again`, {
    remedy: 'Choose another identifier.',
    field: 'id',
  })
}

/** A draining host keeps its sessions and gets no new ones. */
export async function drainHost(site: Site, id: string, draining: boolean, actor: AuditActor): Promise<void> {
  await site.audit.record('admin-change', actor, id, {
    change: draining ? 'host drained' : 'host back in service',
  })
  if (!(await setDraining(site.store.db, id, draining))) throw notFound('host')
  await site.hints.tell({ topic: 'host', id })
}
