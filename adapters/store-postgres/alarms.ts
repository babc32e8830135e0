import type { AlarmRow } from './schema.ts'
import type { Db } from './store.ts'

/** Raises an alarm unless one of this key stands. @returns whether it is new */
export async function raiseAlarm(
  db: Db,
  alarm: Pick<AlarmRow, 'id' | 'key' | 'kind' | 'message' | 'remedy' | 'raised_at'>,
): Promise<boolean> {
  const row = await db
    .insertInto('alarms')
    .values(alarm)
    .onConflict((conflict) => conflict.column('key').where('ended_at', 'is', null).doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** @returns the alarms that stand, the newest first */
export async function openAlarms(db: Db): Promise<readonly AlarmRow[]> {
  return db
    .selectFrom('alarms')
    .selectAll()
    .where('ended_at', 'is', null)
    .orderBy('raised_at', 'desc')
    .execute()
}

/** When an alarm of this key last ended; undefined: never. */
export async function lastAlarm(db: Db, key: string): Promise<AlarmRow | undefined> {
  return db
    .selectFrom('alarms')
    .selectAll()
    .where('key', '=', key)
    .where('ended_at', 'is not', null)
    .orderBy('ended_at', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** @returns the alarm, when it stood */
export async function acknowledgeAlarm(
  db: Db,
  id: string,
  by: string,
  at: Date,
): Promise<AlarmRow | undefined> {
  return db
    .updateTable('alarms')
    .set({ acknowledged_at: at, acknowledged_by: by })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
}

/** Ends an alarm once. @param by name of the admin; undefined: it ended by itself */
export async function endAlarm(
  db: Db,
  id: string,
  by: string | undefined,
  at: Date,
): Promise<AlarmRow | undefined> {
  return db
    .updateTable('alarms')
    .set({ ended_at: at, ended_by: by ?? null })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
}
