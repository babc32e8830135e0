import { type Kysely, sql } from 'kysely'

/** The first tables. Migrations only go forward. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `create table people (
     id uuid primary key, login text not null unique, name text not null, password text,
     groups text[] not null, disabled boolean not null default false, created_at timestamptz not null)`,
  `create table known_sources (
     person_id uuid not null references people on delete cascade, source text not null,
     last_at timestamptz not null, primary key (person_id, source))`,
  `create table sign_in_failures (key text primary key, failures int not null, last_at timestamptz not null)`,
  `create table web_sessions (
     id uuid primary key, token_hash bytea not null unique, person_id uuid not null references people on delete cascade,
     thumbprint text not null, address text not null, created_at timestamptz not null,
     last_seen_at timestamptz not null, expires_at timestamptz not null)`,
  `create index on web_sessions (person_id)`,
  `create table workspaces (id text primary key, position int not null, definition jsonb not null)`,
  `create table agents (
     id uuid primary key, kind text not null check (kind in ('host', 'gateway')), name text not null,
     dns_names text[] not null, pool text not null, certificate_expires_at timestamptz not null, revoked_at timestamptz, draining boolean not null default false,
     host_key bytea, capacity int not null default 0, placed int not null default 0 check (placed >= 0),
     report jsonb not null, last_seen_at timestamptz)`,
  `create table enrolment_tokens (
     secret_hash bytea primary key, kind text not null, name text not null, dns_names text[] not null, pool text not null,
     expires_at timestamptz not null, used_at timestamptz)`,
  `create table sessions (
     id uuid primary key, person_id uuid not null references people, web_session_id uuid references web_sessions on delete set null,
     workspace_id text not null, host_id uuid not null references agents, mode text not null, account text not null,
     width int not null, height int not null,
     state text not null check (state in ('starting', 'ready', 'ending', 'ended')), connected boolean not null default false,
     rights text[] not null, restrictions jsonb not null, obligations jsonb not null, evidence jsonb not null,
     decision_id uuid not null, started_at timestamptz not null, ends_at timestamptz not null,
     last_input_at timestamptz, "end" jsonb, ended_at timestamptz)`,
  `create unique index one_live_session on sessions (person_id, workspace_id) where state in ('starting', 'ready')`,
  `create index live_by_host on sessions (host_id) where state <> 'ended'`,
  `create index live_by_person on sessions (person_id) where state <> 'ended'`,
  `create table tickets (
     id bytea primary key, session_id uuid not null references sessions on delete cascade, sealed bytea not null,
     expires_at timestamptz not null, armed_at timestamptz, redeemed_at timestamptz)`,
  `create index on tickets (session_id)`,
  `create table decisions (
     id uuid primary key, at timestamptz not null, person_id uuid not null references people, workspace_id text not null,
     session_id uuid, cause text not null, zone text not null, decision jsonb not null, audit_index bigint not null)`,
  `create index on decisions (at desc)`,
  `create table redecisions (session_id uuid primary key, cause text not null, requested_at timestamptz not null)`,
  `create table policies (
     serial bigint generated always as identity primary key, text text not null, digest text not null,
     activated_at timestamptz not null, activated_by text not null)`,
  `create table settings (key text primary key, value jsonb not null)`,
  `create table audit_entries (index bigint primary key, entry bytea not null)`,
  `create table audit_hashes (level smallint not null, index bigint not null, hash bytea not null, primary key (level, index))`,
  `create table audit_head (
     one boolean primary key default true check (one), size bigint not null, frontier bytea not null, checkpoint text not null)`,
]
