import { randomUUID } from 'node:crypto'
import { hadPeople, insertPerson } from '#adapters/store-postgres/index.ts'
import { changeZones, defineWorkspace } from '#apps/site/people/administering.ts'
import type { Site } from '#apps/site/site.ts'
import type { WorkspaceDefinition, ZoneDefinition } from '#core/api/admin.ts'
import type { AuditActor } from '#core/audit/leaf.ts'

/** What `--demo` puts into a new site: people of different trust, and something to open. */

export interface DemoAccount {
  readonly login: string
  readonly name: string
  readonly password: string
  readonly groups: readonly string[]
  readonly about: string
}

export const demoAccounts: readonly DemoAccount[] = [
  {
    login: 'nora',
    name: 'Nora Lind',
    password: 'willow-lantern-42',
    groups: ['employees'],
    about: 'a nurse: employee',
  },
  {
    login: 'carl',
    name: 'Carl Brandt',
    password: 'copper-meadow-17',
    groups: ['contractors'],
    about: 'a contractor',
  },
  {
    login: 'ada',
    name: 'Ada Moss',
    password: 'quiet-harbour-93',
    groups: ['employees', 'admins'],
    about: 'an admin',
  },
  {
    login: 'olaf',
    name: 'Olaf Berg',
    password: 'amber-ledger-58',
    groups: ['auditors'],
    about: 'an auditor: sees everything, changes nothing',
  },
]

/** This machine is the office; one of its loopback addresses plays a network that nobody should trust. */
export const demoZones: readonly ZoneDefinition[] = [
  { name: 'office', kind: 'inside', networks: ['127.0.0.0/8', '::1/128'] },
  { name: 'cafe', kind: 'outside', networks: ['127.0.0.50/32'] },
  { name: 'hostile', kind: 'hostile', networks: ['127.0.0.66/32'] },
]

const desktop: WorkspaceDefinition = {
  id: 'desktop',
  name: 'Linux desktop',
  description: 'A whole desktop with a terminal and an editor',
  icon: 'desktop',
  // Best first: on the device where trust allows it, in the data centre otherwise.
  pool: 'default',
  modes: ['local-vm', 'streamed-disk', 'hosted-vm', 'hosted-shared'],
  collections: [],
  program: { kind: 'desktop' },
  disk: { image: 'desktop', channel: 'production', application: 'desktop' },
}

export const demoWorkspaces: readonly WorkspaceDefinition[] = [
  desktop,
  {
    id: 'editor',
    name: 'Editor',
    description: 'Write and keep notes',
    icon: 'document',
    pool: 'default',
    modes: ['hosted-shared'],
    collections: [],
    program: { kind: 'application', command: ['mousepad'] },
  },
  {
    id: 'terminal',
    name: 'Terminal',
    description: 'A command line, full screen',
    icon: 'terminal',
    pool: 'default',
    modes: ['hosted-shared'],
    collections: [],
    program: { kind: 'application', command: ['xterm', '-fa', 'DejaVu Sans Mono', '-fs', '12'] },
  },
  {
    id: 'records',
    name: 'Patient records',
    description: 'Files that must not be seen on a device that nobody looks after',
    icon: 'station',
    pool: 'default',
    modes: ['hosted-vm', 'hosted-shared'],
    collections: ['sensitive'],
    program: { kind: 'application', command: ['mousepad'] },
  },
]

/**
 * Only into a site that never had anybody: a site of people at work gets no admin whose password everybody knows, and keeps its zones;
 * what an admin changed or deleted since stays so.
 */
export async function addDemoContent(site: Site): Promise<void> {
  const actor: AuditActor = { type: 'system', id: 'demo' }
  if (await hadPeople(site.store.db)) return
  const hashed = await Promise.all(
    demoAccounts.map(async (account) => ({ ...account, hash: await site.hasher.hash(account.password) })),
  )
  for (const { login, name, groups, hash } of hashed) {
    const id = randomUUID()
    await site.audit.record('admin-change', actor, id, {
      change: 'person created',
      login,
      name,
      groups: [...groups],
    })
    await insertPerson(site.store.db, {
      id,
      login,
      name,
      groups: [...groups],
      password: hash,
      created_at: new Date(site.now()),
    })
  }
  await changeZones(site, demoZones, actor)
  for (const workspace of demoWorkspaces) await defineWorkspace(site, workspace, actor)
}
