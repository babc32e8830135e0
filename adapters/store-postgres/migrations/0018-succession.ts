import { type Kysely, sql } from 'kysely'

/** Which machine was enrolled again, and as what: what the former one was to discard, the next one can. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `alter table agents add succeeded_by uuid references agents`,
  `create index succeeded_agents on agents (succeeded_by) where succeeded_by is not null`,
]
