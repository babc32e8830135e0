import { type Kysely, sql } from 'kysely'

/** Virtual machines that stand still in the memory of endpoints after their lease. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql.raw('alter table leases add column paused_at timestamptz').execute(db)
}
