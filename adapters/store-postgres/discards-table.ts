import type { ColumnType } from 'kysely'

/** What a deletion has a machine discard. INVARIANT: rows stay, so that what was asked of a machine, and when it was done, is known. */
export interface DiscardsTable {
  agent_id: string
  person_id: string
  /** The workspace whose VM wrote it; empty: all that the person has there. */
  scope: string
  /** When the audit log was told that it is asked for: nobody hears of it before. */
  asked_at: ColumnType<Date | null, never, Date>
  /** When its machine said that nothing of it is left. */
  done_at: ColumnType<Date | null, never, Date>
}
