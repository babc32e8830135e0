import { type Kysely, sql } from 'kysely'

/** When an endpoint last said goodbye: its silence then is no fall that many may share. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`alter table endpoint_evidence add left_at timestamptz`).execute(db)
}
