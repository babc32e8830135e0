import { type Kysely, sql } from 'kysely'

/** Codes by which browsers hand launches to endpoints, and which endpoint a browser was last seen on. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `create table handoffs (
     code_hash bytea primary key, person_id uuid not null references people,
     web_session_id uuid not null references web_sessions on delete cascade,
     workspace_id text, endpoint_id uuid references agents, switch boolean not null,
     made_at timestamptz not null, expires_at timestamptz not null, used_at timestamptz, used_by uuid references agents)`,
  `create index handoffs_by_web_session on handoffs (web_session_id)`,
  `create table browser_endpoints (
     web_session_id uuid primary key references web_sessions on delete cascade, endpoint_id uuid not null references agents,
     seen_at timestamptz not null)`,
]
