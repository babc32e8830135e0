import { type Selectable, sql } from 'kysely'
import { isBehind, isFound, type Page } from './paging.ts'
import type { AgentRow, Database, ImageKeyRow } from './schema.ts'
import type { Db } from './store.ts'

/** Which endpoints are looked for. */
export interface EndpointFilter {
  /** In name, group, and owner. */
  readonly search?: string | undefined
  /** Only those, still enrolled, that booted something else than is expected of them. */
  readonly bootChanged?: boolean
}

export interface ListedEndpoint extends AgentRow {
  readonly owner_login: string | null
  readonly owner_name: string | null
}

function endpointsLike(db: Db, filter: EndpointFilter) {
  return db
    .selectFrom('agents as a')
    .leftJoin('people as p', 'p.id', 'a.owner_id')
    .where('a.kind', '=', 'endpoint')
    .where(isFound(filter, ['a.name', 'a.pool', 'p.login', 'p.name']))
    .$if(filter.bootChanged === true, (query) =>
      query
        .where('a.revoked_at', 'is', null)
        .where(sql<boolean>`a.boot->'current'->'pcrs' <> a.boot->'baseline'->'pcrs'`),
    )
}

/** By name. */
export async function listEndpoints(db: Db, page: Page & EndpointFilter): Promise<readonly ListedEndpoint[]> {
  return endpointsLike(db, page)
    .selectAll('a')
    .select(['p.login as owner_login', 'p.name as owner_name'])
    .where(isBehind(page, 'agents', 'a', ['name', 'id']))
    .orderBy('a.name')
    .orderBy('a.id')
    .limit(page.limit)
    .execute()
}

/** @param onlineSince from when on who was heard of is connected */
export async function countEndpoints(
  db: Db,
  filter: EndpointFilter,
  onlineSince: Date,
): Promise<{ readonly all: number; readonly online: number }> {
  const { all, online } = await endpointsLike(db, filter)
    .select((eb) => [
      eb.fn.countAll<string>().as('all'),
      eb.fn
        .countAll<string>()
        .filterWhere((on) => on.and([on('a.revoked_at', 'is', null), on('a.last_seen_at', '>', onlineSince)]))
        .as('online'),
    ])
    .executeTakeFirstOrThrow()
  return { all: Number(all), online: Number(online) }
}

/** Groups that endpoints are in, by name. */
export async function endpointGroups(db: Db): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('agents')
    .select('pool')
    .distinct()
    .where('kind', '=', 'endpoint')
    .where('revoked_at', 'is', null)
    .orderBy('pool')
    .limit(200)
    .execute()
  return rows.map(({ pool }) => pool)
}

/** A renewal needs two; who renews without end keeps no more. */
const mostKeys = 3

/** Knows one more key of an endpoint, for as long as its certificate is good. */
export async function addEndpointKey(
  db: Db,
  key: { readonly endpoint_id: string; readonly public_key: Buffer; readonly expires_at: Date },
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await tx
      .insertInto('endpoint_keys')
      .values(key)
      .onConflict((conflict) =>
        conflict.columns(['endpoint_id', 'public_key']).doUpdateSet({ expires_at: key.expires_at }),
      )
      .execute()
    await tx
      .deleteFrom('endpoint_keys')
      .where('endpoint_id', '=', key.endpoint_id)
      .where('public_key', 'not in', (eb) =>
        eb
          .selectFrom('endpoint_keys as newest')
          .select('newest.public_key')
          .where('newest.endpoint_id', '=', key.endpoint_id)
          .orderBy('newest.expires_at', 'desc')
          .limit(mostKeys),
      )
      .execute()
  })
}

/** SubjectPublicKeyInfo, DER, of every certificate of the endpoint that is still good. */
export async function endpointKeys(db: Db, endpointId: string, now: Date): Promise<readonly Buffer[]> {
  const rows = await db
    .selectFrom('endpoint_keys')
    .select('public_key')
    .where('endpoint_id', '=', endpointId)
    .where('expires_at', '>', now)
    .execute()
  return rows.map((row) => row.public_key)
}

export type EndpointKeyRow = Selectable<Database['endpoint_keys']>

/** The key of an endpoint's last certificate, be it still good or not; of several certificates that end together each. */
export async function lastEndpointKeys(db: Db, endpointId: string): Promise<readonly EndpointKeyRow[]> {
  return db
    .selectFrom('endpoint_keys')
    .selectAll()
    .where('endpoint_id', '=', endpointId)
    .where('expires_at', '=', (eb) =>
      eb
        .selectFrom('endpoint_keys as all')
        .select((all) => all.fn.max('all.expires_at').as('last'))
        .where('all.endpoint_id', '=', endpointId),
    )
    .execute()
}

/** Knows a key for longer. @returns false when that was done meanwhile: of any number of callers one does it */
export async function prolongEndpointKey(db: Db, key: EndpointKeyRow, expiresAt: Date): Promise<boolean> {
  const prolonged = await db
    .updateTable('endpoint_keys')
    .set({ expires_at: expiresAt })
    .where('endpoint_id', '=', key.endpoint_id)
    .where('public_key', '=', key.public_key)
    .where('expires_at', '=', key.expires_at)
    .returning('endpoint_id')
    .executeTakeFirst()
  return prolonged !== undefined
}

/**
 * Knows a key that a certificate of the site has proven, and until when: also one that a database which was put back has never heard of.
 */
export async function knowEndpointKey(
  db: Db,
  key: { readonly endpoint_id: string; readonly public_key: Buffer; readonly expires_at: Date },
): Promise<void> {
  await db
    .insertInto('endpoint_keys')
    .values(key)
    .onConflict((conflict) =>
      conflict
        .columns(['endpoint_id', 'public_key'])
        .doUpdateSet({ expires_at: key.expires_at })
        .where('endpoint_keys.expires_at', '<', key.expires_at),
    )
    .execute()
}

export async function recordEndpointHello(
  db: Db,
  id: string,
  hello: Pick<AgentRow, 'seal_key' | 'takes_discards' | 'last_seen_at'>,
): Promise<void> {
  await db.updateTable('agents').set(hello).where('id', '=', id).where('kind', '=', 'endpoint').execute()
}

/** @returns false when the image has another key already: what was encrypted with it would be lost */
export async function depositImageKey(db: Db, row: ImageKeyRow): Promise<boolean> {
  const kept = await db
    .insertInto('image_keys')
    .values(row)
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet({ sealed: row.sealed, deposited_at: row.deposited_at })
        .where('image_keys.key_id', '=', row.key_id),
    )
    .returning('name')
    .executeTakeFirst()
  return kept !== undefined
}

export async function imageKey(db: Db, name: string): Promise<ImageKeyRow | undefined> {
  return db.selectFrom('image_keys').selectAll().where('name', '=', name).executeTakeFirst()
}

/** Names of all images whose key the site holds. */
export async function imagesWithKey(db: Db): Promise<ReadonlySet<string>> {
  const rows = await db.selectFrom('image_keys').select('name').execute()
  return new Set(rows.map((row) => row.name))
}
