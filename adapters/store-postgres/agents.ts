import { sql } from 'kysely'
import type { AgentReport, AgentRow, TokenKind } from './schema.ts'
import type { Db } from './store.ts'

export async function insertAgent(
  db: Db,
  agent: Pick<AgentRow, 'id' | 'kind' | 'name' | 'dns_names' | 'pool' | 'certificate_expires_at'> &
    Partial<
      Pick<AgentRow, 'device_key' | 'ak_public' | 'ek_fingerprint' | 'boot' | 'owner_id' | 'enrolled_at'>
    >,
): Promise<void> {
  const { boot = null, ...columns } = agent
  await db
    .insertInto('agents')
    .values({ ...columns, boot: boot === null ? null : JSON.stringify(boot), report: '{}' })
    .execute()
}

/** What a machine was enrolled as before it was enrolled again, and what it was before that. */
export async function noteSuccession(db: Db, formerId: string, id: string): Promise<void> {
  await db
    .updateTable('agents')
    .set({ succeeded_by: id })
    .where((eb) => eb.or([eb('id', '=', formerId), eb('succeeded_by', '=', formerId)]))
    .execute()
}

export async function agentById(db: Db, id: string): Promise<AgentRow | undefined> {
  return db.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function agentsByIds(db: Db, ids: readonly string[]): Promise<readonly AgentRow[]> {
  return db.selectFrom('agents').selectAll().where(sql<boolean>`id = any(${ids}::uuid[])`).execute()
}

export async function listAgents(db: Db, kind: AgentRow['kind']): Promise<readonly AgentRow[]> {
  return db.selectFrom('agents').selectAll().where('kind', '=', kind).orderBy('name').execute()
}

/** The agent of that id, and those of that name. */
export async function agentsCalled(
  db: Db,
  kind: AgentRow['kind'],
  nameOrId: string,
): Promise<readonly AgentRow[]> {
  return db
    .selectFrom('agents')
    .selectAll()
    .where('kind', '=', kind)
    .where((eb) => eb.or([eb('name', '=', nameOrId), eb(sql`id::text`, '=', nameOrId)]))
    .orderBy('enrolled_at')
    .execute()
}

/** Agents that reported after `since` and were not revoked. */
export async function onlineAgents(
  db: Db,
  kind: AgentRow['kind'],
  since: Date,
): Promise<readonly AgentRow[]> {
  return db
    .selectFrom('agents')
    .selectAll()
    .where('kind', '=', kind)
    .where('revoked_at', 'is', null)
    .where('last_seen_at', '>', since)
    .execute()
}

/** Those of the agents named that exist and were not revoked. */
export async function livingAgents(
  db: Db,
  ids: readonly string[],
): Promise<ReadonlyMap<string, AgentRow['kind']>> {
  const rows = await db
    .selectFrom('agents')
    .select(['id', 'kind'])
    .where(sql<boolean>`id = any(${ids}::uuid[])`)
    .where('revoked_at', 'is', null)
    .execute()
  return new Map(rows.map(({ id, kind }) => [id, kind]))
}

export async function recordReport(db: Db, id: string, at: Date, report: AgentReport): Promise<void> {
  await db
    .updateTable('agents')
    .set((eb) => ({ last_seen_at: at, report: sql`${eb.ref('report')} || ${JSON.stringify(report)}::jsonb` }))
    .where('id', '=', id)
    .execute()
}

export async function recordHostHello(
  db: Db,
  id: string,
  hello: Pick<AgentRow, 'host_key' | 'capacity' | 'last_seen_at'> & Partial<Pick<AgentRow, 'takes_discards'>>,
): Promise<void> {
  await db.updateTable('agents').set(hello).where('id', '=', id).execute()
}

export async function setDraining(db: Db, id: string, draining: boolean): Promise<boolean> {
  const row = await db
    .updateTable('agents')
    .set({ draining })
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function revokeAgent(db: Db, id: string, at: Date): Promise<AgentRow | undefined> {
  return db
    .updateTable('agents')
    .set({ revoked_at: at })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
}

export async function renewedAgent(db: Db, id: string, certificateExpiresAt: Date): Promise<void> {
  await db
    .updateTable('agents')
    .set({ certificate_expires_at: certificateExpiresAt })
    .where('id', '=', id)
    .execute()
}

export async function insertEnrolmentToken(
  db: Db,
  token: {
    secret_hash: Buffer
    kind: TokenKind
    name: string
    dns_names: string[]
    pool: string
    owner_id?: string | null
    expires_at: Date
  },
): Promise<void> {
  await db.insertInto('enrolment_tokens').values(token).execute()
}

/** What a token makes of its bearer. */
export interface TokenGrant<Kind extends TokenKind> {
  readonly kind: Kind
  readonly name: string
  readonly dns_names: string[]
  readonly pool: string
  readonly owner_id: string | null
}

/** Whether a token that nobody has used yet makes an endpoint. */
export async function isEndpointToken(db: Db, secretHash: Buffer, now: Date): Promise<boolean> {
  const row = await db
    .selectFrom('enrolment_tokens')
    .select('kind')
    .where('secret_hash', '=', secretHash)
    .where('kind', '=', 'endpoint')
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirst()
  return row !== undefined
}

/** Uses the token up: of any number of callers at once exactly one gets it. */
export async function useEnrolmentToken<Kind extends TokenKind>(
  db: Db,
  secretHash: Buffer,
  kinds: readonly Kind[],
  now: Date,
): Promise<TokenGrant<Kind> | undefined> {
  const row = await db
    .updateTable('enrolment_tokens')
    .set({ used_at: now })
    .where('secret_hash', '=', secretHash)
    .where('kind', 'in', kinds)
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .returning(['kind', 'name', 'dns_names', 'pool', 'owner_id'])
    .executeTakeFirst()
  return row as TokenGrant<Kind> | undefined
}

/**
 * The link that last heard from the agent is gone, so it counts as silent for as long as makes it absent, and no longer.
 * If another link has heard from it since, nothing changes.
 */
export async function agentWentAway(db: Db, id: string, lastHeard: Date, absentSince: Date): Promise<void> {
  await db
    .updateTable('agents')
    .set({ last_seen_at: absentSince })
    .where('id', '=', id)
    .where('last_seen_at', '<=', lastHeard)
    .where('last_seen_at', '>', absentSince)
    .execute()
}
