import { type Kysely, sql } from 'kysely'

/** What endpoints state about themselves, what other systems state about them, and alarms. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  // Room in each page: what is written every minute touches no index and stays where it is.
  `create table endpoint_evidence (
     endpoint_id uuid primary key references agents on delete cascade, version integer not null,
     sequence bigint not null, basis bigint not null, last_at timestamptz, address text,
     observations jsonb not null, attested jsonb, seen jsonb, path jsonb, beacon jsonb, forked_at timestamptz,
     silent boolean not null, settled jsonb not null, fallen jsonb not null, fell_at timestamptz, changes jsonb not null)
   with (fillfactor = 70)`,
  `create table endpoint_statements (
     endpoint_id uuid not null references agents on delete cascade, system text not null, claim text not null, value text not null,
     at timestamptz not null, expires_at timestamptz not null, primary key (endpoint_id, system, claim))`,
  `create table alarms (
     id uuid primary key, key text not null, kind text not null check (kind in ('brake', 'verifier')),
     message text not null, remedy text not null, raised_at timestamptz not null,
     acknowledged_at timestamptz, acknowledged_by text, ended_at timestamptz, ended_by text)`,
  `create unique index open_alarms on alarms (key) where ended_at is null`,
  `create index live_by_origin on sessions (from_endpoint_id) where state <> 'ended'`,
]
