import type { Db } from './store.ts'

export interface Failures {
  readonly failures: number
  /** Unix time, ms. */
  readonly lastAt: number
}

export async function readFailures(db: Db, keys: readonly string[]): Promise<ReadonlyMap<string, Failures>> {
  const rows = await db
    .selectFrom('sign_in_failures')
    .selectAll()
    .where('key', 'in', [...keys])
    .execute()
  return new Map(rows.map((row) => [row.key, { failures: row.failures, lastAt: row.last_at.getTime() }]))
}

/** Counts one failure under each key; atomic, so that parallel guesses all count. Rows are locked in one order. */
export async function countFailure(db: Db, keys: readonly string[], at: Date): Promise<void> {
  await db
    .insertInto('sign_in_failures')
    .values(keys.toSorted().map((key) => ({ key, failures: 1, last_at: at })))
    .onConflict((conflict) =>
      conflict
        .column('key')
        .doUpdateSet((eb) => ({ failures: eb('sign_in_failures.failures', '+', 1), last_at: at })),
    )
    .execute()
}

export async function clearFailures(db: Db, keys: readonly string[]): Promise<void> {
  await db
    .deleteFrom('sign_in_failures')
    .where('key', 'in', [...keys])
    .execute()
}

export async function deleteOldFailures(db: Db, before: Date): Promise<void> {
  await db.deleteFrom('sign_in_failures').where('last_at', '<', before).execute()
}
