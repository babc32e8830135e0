import { type Kysely, sql } from 'kysely'

/** People and workspaces that were deleted stay as rows: their ids are never used again, and what tells of them keeps their names. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const mark = `add deleted_at timestamptz, add deleted_by uuid, add discards boolean not null default false`

const statements: readonly string[] = [
  `alter table people ${mark}, drop constraint people_login_key`,
  `create unique index people_login_key on people (login) where deleted_at is null`,
  // A time line names people of before by their login, too.
  `create index people_by_login on people (login)`,
  `alter table workspaces ${mark}`,
  // What a person owned, and where they have a home, is asked without reading all machines and all sessions there ever were.
  `create index agents_by_owner on agents (owner_id) where owner_id is not null`,
  `create index hosts_of_person on sessions (person_id, host_id) where host_id is not null`,
]
