import { type Kysely, sql } from 'kysely'

/** Virtual machines of one image have an overlay for each workspace, and none of a disk's: leases count by that, too. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `alter table leases add scope text not null generated always as (case when mode = 'local-vm' then workspace_id else '' end) stored`,
  `update leases set superseded = true, written_before = 0
   where state = 'ended' and mode = 'local-vm' and overlay_at_start <> 'discard'`,
  `update leases l set superseded = false, written_before = k.total - k.written
   from (
     select id, written, row_number() over (same order by ended_at desc, id) as place,
       sum(written) filter (where discarded_at is null or ended_at > discarded_at) over same as total
     from (
       select *, coalesce((stats->>'bytesWritten')::bigint, 0) as written,
         max(ended_at) filter (where overlay = 'discard' and ended_at <= expires_at) over same as discarded_at
       from leases where overlay_at_start <> 'discard' and state = 'ended' and mode = 'local-vm'
       window same as (partition by endpoint_id, person_id, scope, image, version)
     ) e
     window same as (partition by endpoint_id, person_id, scope, image, version)
   ) k
   where k.id = l.id and k.place = 1 and k.total > 0`,
  `drop index leases_that_stand`,
  `create index leases_that_stand on leases (endpoint_id, person_id, scope, image, version)
     where overlay_at_start <> 'discard' and not superseded`,
]
