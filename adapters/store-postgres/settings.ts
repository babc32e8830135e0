import { type Selectable, sql } from 'kysely'
import type { WorkspaceDefinition, ZoneDefinition } from '#core/api/admin.ts'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'

export type PolicyRow = Selectable<Database['policies']>

export async function activePolicy(db: Db): Promise<PolicyRow | undefined> {
  return db.selectFrom('policies').selectAll().orderBy('serial', 'desc').limit(1).executeTakeFirst()
}

/** Digest of the active policy, without its text, which may be long. */
export async function activePolicyDigest(db: Db): Promise<string | undefined> {
  const row = await db
    .selectFrom('policies')
    .select('digest')
    .orderBy('serial', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row?.digest
}

export async function insertPolicy(db: Db, policy: Omit<PolicyRow, 'serial'>): Promise<void> {
  await db.insertInto('policies').values(policy).execute()
}

export async function readZones(db: Db): Promise<readonly ZoneDefinition[] | undefined> {
  const row = await db.selectFrom('settings').select('value').where('key', '=', 'zones').executeTakeFirst()
  return row?.value
}

/** By what the zones are known, without them: there may be thousands of networks. Undefined before there are any. */
export async function zonesDigest(db: Db): Promise<string | undefined> {
  const row = await db
    .selectFrom('settings')
    .select(digestOfValue.as('digest'))
    .where('key', '=', 'zones')
    .executeTakeFirst()
  return row?.digest
}

export async function zonesWithDigest(
  db: Db,
): Promise<{ readonly zones: readonly ZoneDefinition[]; readonly digest: string } | undefined> {
  return db
    .selectFrom('settings')
    .select(['value as zones', digestOfValue.as('digest')])
    .where('key', '=', 'zones')
    .executeTakeFirst()
}

const digestOfValue = sql<string>`encode(sha256(convert_to(value::text, 'UTF8')), 'hex')`

export async function writeZones(db: Db, zones: readonly ZoneDefinition[]): Promise<void> {
  const value = JSON.stringify(zones)
  await db
    .insertInto('settings')
    .values({ key: 'zones', value })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
    .execute()
}

export async function listWorkspaces(db: Db): Promise<readonly WorkspaceDefinition[]> {
  const rows = await db
    .selectFrom('workspaces')
    .select('definition')
    .orderBy('position')
    .orderBy('id')
    .execute()
  return rows.map((row) => row.definition)
}

export async function workspaceById(db: Db, id: string): Promise<WorkspaceDefinition | undefined> {
  const row = await db.selectFrom('workspaces').select('definition').where('id', '=', id).executeTakeFirst()
  return row?.definition
}

export async function writeWorkspace(
  db: Db,
  workspace: WorkspaceDefinition,
  position: number,
): Promise<void> {
  const definition = JSON.stringify(workspace)
  await db
    .insertInto('workspaces')
    .values({ id: workspace.id, position, definition })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ definition }))
    .execute()
}
