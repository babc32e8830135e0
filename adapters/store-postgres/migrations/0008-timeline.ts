import { type Kysely, sql } from 'kysely'

/**
 * By whom and by what entries of the audit log are found, and what leases leave on endpoints. Entries that are there already are
 * indexed by the first node that starts: see `timeline.ts`.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `create table audit_subjects (subject text not null, index bigint not null, primary key (subject, index))`,
  `create table audit_sessions (session text primary key, subjects text[] not null)`,
  `alter table audit_head add indexed bigint not null default 0`,
  `alter table leases add overlay_at_start text not null default 'discard' check (overlay_at_start in ('discard', 'keep'))`,
  `update leases set overlay_at_start = overlay`,
  `create index leases_that_kept on leases (endpoint_id, person_id, image, version) where overlay_at_start = 'keep'`,
]
