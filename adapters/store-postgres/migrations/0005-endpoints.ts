import { type Kysely, sql } from 'kysely'

/** Endpoints as agents, leases, the keys of images, and sessions that run on an endpoint. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `alter table agents drop constraint agents_kind_check`,
  `alter table agents add constraint agents_kind_check check (kind in ('host', 'gateway', 'endpoint')), add seal_key bytea`,
  `create table endpoint_keys (
     endpoint_id uuid not null references agents on delete cascade, public_key bytea not null, expires_at timestamptz not null,
     primary key (endpoint_id, public_key))`,
  `alter table sessions alter host_id drop not null,
     add endpoint_id uuid references agents, add from_endpoint_id uuid references agents,
     add constraint runs_in_one_place check (num_nonnulls(host_id, endpoint_id) = 1)`,
  `create index live_by_endpoint on sessions (endpoint_id) where state <> 'ended'`,
  `create table leases (
     id uuid primary key, session_id uuid not null unique references sessions, person_id uuid not null references people,
     endpoint_id uuid not null references agents, workspace_id text not null, image text not null, version text not null,
     counter bigint not null, manifest_digest text not null, mode text not null, overlay text not null check (overlay in ('discard', 'keep')),
     state text not null check (state in ('offered', 'held', 'withdrawn', 'ended')),
     made_at timestamptz not null, key_released_at timestamptz, expires_at timestamptz not null, withdrawn_at timestamptz, ended_at timestamptz,
     notice jsonb, stats jsonb)`,
  `create index open_leases_by_endpoint on leases (endpoint_id) where state <> 'ended'`,
  `create index open_leases_by_expiry on leases (expires_at) where state <> 'ended'`,
  `create table image_keys (name text primary key, key_id text not null, sealed bytea not null, deposited_at timestamptz not null)`,
  // What was decided before these obligations were words had their defaults.
  `update sessions set obligations = '{"leaseMinutes": 15, "overlay": "discard"}'::jsonb || obligations`,
  `update decisions set decision = jsonb_set(decision, '{outcome,obligations}',
     '{"leaseMinutes": 15, "overlay": "discard"}'::jsonb || (decision #> '{outcome,obligations}'))
   where decision #> '{outcome,obligations}' is not null`,
]
