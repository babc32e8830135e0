import type { Db } from './store.ts'

export interface Failures {
  readonly failures: number
  /** Unix time, ms. */
  readonly lastAt: number
}

/**
 * Shows the counters to `judge`, and counts one under each when it lets the attempt through. Nobody else is shown them meanwhile, so that
 * parallel guesses all count. Rows are locked in one order.
 *
 * @param judge told the counters by key
 */
export async function countAttempt<Verdict extends { readonly allowed: boolean }>(
  db: Db,
  keys: readonly string[],
  at: Date,
  judge: (stored: ReadonlyMap<string, Failures>) => Verdict,
): Promise<Verdict> {
  return db.transaction().execute(async (tx) => {
    const rows = await tx
      .insertInto('sign_in_failures')
      .values(keys.toSorted().map((key) => ({ key, failures: 0, last_at: at })))
      // Locked, and left as it is.
      .onConflict((conflict) =>
        conflict.column('key').doUpdateSet((eb) => ({ failures: eb.ref('sign_in_failures.failures') })),
      )
      .returningAll()
      .execute()
    const verdict = judge(
      new Map(rows.map((row) => [row.key, { failures: row.failures, lastAt: row.last_at.getTime() }])),
    )
    if (verdict.allowed)
      await tx
        .updateTable('sign_in_failures')
        .set((eb) => ({ failures: eb('failures', '+', 1), last_at: at }))
        .where('key', 'in', [...keys])
        .execute()
    return verdict
  })
}

/** Takes one off each: what was counted was no failure. */
export async function uncountAttempt(db: Db, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return
  await db
    .updateTable('sign_in_failures')
    .set((eb) => ({ failures: eb('failures', '-', 1) }))
    .where('key', 'in', [...keys])
    .where('failures', '>', 0)
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
