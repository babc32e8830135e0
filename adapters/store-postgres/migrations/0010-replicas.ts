import { type Kysely, sql } from 'kysely'

/** Copies in the data centre of what is written on endpoints. Their bytes are in a folder. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const words = `('discard', 'keep', 'replicate')`

const statements: readonly string[] = [
  `alter table leases drop constraint leases_overlay_check, drop constraint leases_overlay_at_start_check`,
  `alter table leases add constraint leases_overlay_check check (overlay in ${words}),
     add constraint leases_overlay_at_start_check check (overlay_at_start in ${words}),
     add replica_kept_at timestamptz, add replica_read_at timestamptz`,
  `drop index leases_that_kept`,
  `create index leases_that_kept on leases (endpoint_id, person_id, image, version) where overlay_at_start <> 'discard'`,
  `create table replicas (
     id uuid primary key, person_id uuid not null references people, scope text not null, image text not null, version text not null,
     sequence bigint not null default 0, manifest text, bytes bigint not null default 0, stored bigint not null default 0,
     lease_id uuid not null references leases, made_at timestamptz not null, committed_at timestamptz,
     unique (person_id, scope, image, version))`,
]
