import { type Kysely, sql } from 'kysely'

/**
 * What is asked often no longer goes over the whole history: indexes on the few rows that count, and of the leases that kept one overlay
 * one that stands for those before it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `create index paused_leases on leases (endpoint_id) where paused_at is not null`,
  `create index leases_with_key on leases (endpoint_id, image, version) where key_released_at is not null`,
  // A web session that ends is taken out of the sessions that it opened.
  `create index sessions_by_web_session on sessions (web_session_id) where web_session_id is not null`,
  // Hosts and gateways among very many endpoints; neither column changes, so that what is written every minute touches no index.
  `create index agents_by_kind on agents (kind, name, id)`,
  `create index alarms_by_key on alarms (key, ended_at)`,
  // Only the leases that stand are written: all others have the default of this moment.
  `alter table leases add superseded boolean not null default true, add written_before bigint not null default 0`,
  `alter table leases alter superseded set default false`,
  `update leases set superseded = false where state <> 'ended'`,
  `update leases l set superseded = false, written_before = k.total - k.written
   from (
     select id, written, row_number() over (same order by ended_at desc, id) as place,
       sum(written) filter (where discarded_at is null or ended_at > discarded_at) over same as total
     from (
       select *, coalesce((stats->>'bytesWritten')::bigint, 0) as written,
         max(ended_at) filter (where overlay = 'discard' and ended_at <= expires_at) over same as discarded_at
       from leases where overlay_at_start <> 'discard' and state = 'ended'
       window same as (partition by endpoint_id, person_id, image, version)
     ) e
     window same as (partition by endpoint_id, person_id, image, version)
   ) k
   where k.id = l.id and k.place = 1 and k.total > 0`,
  `drop index leases_that_kept`,
  `create index leases_that_stand on leases (endpoint_id, person_id, image, version)
     where overlay_at_start <> 'discard' and not superseded`,
]
