import { type Kysely, sql } from 'kysely'

/** Images that were imported, what people sign and have signed of them, and the channels that point at releases. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `create table images (
     name text not null, version text not null, manifest bytea not null, manifest_digest text not null, store text not null,
     imported_by text not null, imported_at timestamptz not null, comparison jsonb, primary key (name, version))`,
  `create table release_metadata (
     role text not null, version integer not null, bytes bytea not null, published_at timestamptz not null, primary key (role, version))`,
  `create table release_proposals (
     role text primary key, version integer not null, bytes bytea not null, proposed_by text not null, proposed_at timestamptz not null)`,
  `create table releases (
     name text not null, version text not null, counter integer not null, content_version text not null, manifest_digest text not null,
     published_at timestamptz not null, retired_at timestamptz, primary key (name, version), unique (name, counter))`,
  `create table channels (
     name text not null, channel text not null, current_version text not null, next_version text, wave jsonb, changed_at timestamptz not null,
     primary key (name, channel), foreign key (name, current_version) references releases, foreign key (name, next_version) references releases,
     constraint a_wave_is_of_a_version check ((next_version is null) = (wave is null)))`,
]
