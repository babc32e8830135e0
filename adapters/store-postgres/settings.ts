import { type RawBuilder, type Selectable, sql, type Transaction } from 'kysely'
import type { WorkspaceDefinition, ZoneDefinition } from '#core/api/admin.ts'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

export type PolicyRow = Selectable<Database['policies']>

export async function activePolicy(db: Queries): Promise<PolicyRow | undefined> {
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

/** What is to be replaced, as it was read; `was` is undefined where there was none. */
export interface Basis<T> {
  readonly was: T | undefined
}

/** @param basis absent: whatever is active @returns false when another one is active than `basis` says: then this one is none */
export async function insertPolicy(
  db: Db,
  policy: Omit<PolicyRow, 'serial'>,
  basis?: Basis<Pick<PolicyRow, 'serial'>>,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // Whoever comes at the same time compares after this one is there.
    await sql`select pg_advisory_xact_lock(hashtextextended('policies', 0))`.execute(tx)
    if (basis !== undefined && (await activePolicy(tx))?.serial !== basis.was?.serial) return false
    await tx.insertInto('policies').values(policy).execute()
    return true
  })
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

/** @param basis absent: whatever is there @returns false when something else is there than `basis` says: then nothing changed */
export async function writeZones(
  db: Db,
  zones: readonly ZoneDefinition[],
  basis?: Basis<readonly ZoneDefinition[]>,
): Promise<boolean> {
  const value = JSON.stringify(zones)
  const row = await db
    .insertInto('settings')
    .values({ key: 'zones', value })
    .onConflict((conflict) =>
      conflict
        .column('key')
        .doUpdateSet({ value })
        .where(isStill(sql.ref('settings.value'), basis)),
    )
    .returning('key')
    .executeTakeFirst()
  return row !== undefined
}

/** Of a row that is there. */
function isStill(value: RawBuilder<unknown>, basis: Basis<unknown> | undefined): RawBuilder<boolean> {
  if (basis === undefined) return sql`true`
  return basis.was === undefined ? sql`false` : sql`${value} = ${JSON.stringify(basis.was)}::jsonb`
}

/** What the site was called when it was first asked for, also when it is called otherwise since. */
export async function firstSiteId(db: Db, siteId: string): Promise<string> {
  const { rows } = await sql<{ id: string }>`
    insert into settings (key, value) values ('first-site-id', to_jsonb(${siteId}::text))
    on conflict (key) do update set key = excluded.key returning value #>> '{}' as id`.execute(db)
  return rows[0]?.id ?? siteId
}

export async function listWorkspaces(db: Db): Promise<readonly WorkspaceDefinition[]> {
  const rows = await db
    .selectFrom('workspaces')
    .select('definition')
    .where('deleted_at', 'is', null)
    .orderBy('position')
    .orderBy('id')
    .execute()
  return rows.map((row) => row.definition)
}

export async function workspaceById(db: Db, id: string): Promise<WorkspaceDefinition | undefined> {
  const row = await db
    .selectFrom('workspaces')
    .select('definition')
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return row?.definition
}

/** Behind all that there are, and were. */
export async function nextPosition(db: Db): Promise<number> {
  const { all } = await db
    .selectFrom('workspaces')
    .select((eb) => eb.fn.countAll<string>().as('all'))
    .executeTakeFirstOrThrow()
  return Number(all)
}

/**
 * @param basis absent: whatever is there
 * @returns false when something else is there than `basis` says, or a workspace of that id was deleted, whose id policy, log and endpoints know:
 *   then nothing changed
 */
export async function writeWorkspace(
  db: Db,
  workspace: WorkspaceDefinition,
  position: number,
  basis?: Basis<WorkspaceDefinition>,
): Promise<boolean> {
  const definition = JSON.stringify(workspace)
  const row = await db
    .insertInto('workspaces')
    .values({ id: workspace.id, position, definition })
    .onConflict((conflict) =>
      conflict
        .column('id')
        .doUpdateSet({ definition })
        .where('workspaces.deleted_at', 'is', null)
        .where(isStill(sql.ref('workspaces.definition'), basis)),
    )
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}
