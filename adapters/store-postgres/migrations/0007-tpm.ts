import { type Kysely, sql } from 'kysely'

/** By what key an endpoint proves which it is, whose it is, what it booted; and machines that wait to be let in. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `alter table agents
     add device_key text not null default 'file' check (device_key in ('file', 'tpm')),
     add ak_public bytea, add ek_fingerprint text, add boot jsonb,
     add owner_id uuid references people on delete set null, add enrolled_at timestamptz,
     add constraint a_tpm_has_a_key check ((device_key = 'tpm') = (ak_public is not null))`,
  `alter table enrolment_tokens add owner_id uuid references people on delete cascade`,
  `create table tpm_challenges (
     id uuid primary key, token_hash bytea not null, request_hash bytea not null, ak_public bytea not null, ek_fingerprint text not null,
     secret_hash bytea not null, expires_at timestamptz not null)`,
  `create index tpm_challenges_by_token on tpm_challenges (token_hash)`,
  `create table enrolment_requests (
     id uuid primary key, secret_hash bytea not null unique, code text not null unique, name text not null, source text not null,
     address text not null, state text not null check (state in ('waiting', 'approved', 'refused')),
     requested_at timestamptz not null, expires_at timestamptz not null)`,
  `create index enrolment_requests_by_source on enrolment_requests (source)`,
]
