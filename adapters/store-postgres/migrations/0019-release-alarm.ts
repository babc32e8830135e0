import { type Kysely, sql } from 'kysely'

/** Alarms about the end of what people signed. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(`alter table alarms drop constraint alarms_kind_check,
      add constraint alarms_kind_check check (kind in ('brake', 'verifier', 'authority', 'releases'))`)
    .execute(db)
}
