import type { ColumnType, Generated, Insertable, Selectable } from 'kysely'
import type { LeaseNotice, LeaseStats } from '#core/api/lease.ts'
import type { LeaseState } from '#core/lease/index.ts'
import type { DeliveryMode, Overlay } from '#core/trust/words.ts'

/** The right of an endpoint to hold data of one session: who, where, until when (I8). See `core/lease`. */
export interface LeasesTable {
  id: string
  session_id: string
  person_id: string
  endpoint_id: string
  workspace_id: string
  image: string
  version: string
  /** Of the release: it only grows. */
  counter: string
  /** SHA-256 of the image's manifest, hex. */
  manifest_digest: string
  mode: DeliveryMode
  /** The workspace whose VM has the overlay; empty for disks, which a person's workspaces share. */
  scope: ColumnType<string, never, never>
  overlay: Overlay
  /** As it was when the lease began: only an overlay that was to be kept can be one of before. */
  overlay_at_start: Generated<Overlay>
  /** A later lease on the same overlay stands for this one, or what was written is gone. */
  superseded: Generated<boolean>
  /** What was written, bytes, under the leases that this one stands for. */
  written_before: Generated<string>
  state: LeaseState
  made_at: Timestamp
  /** When the audit log was told that the key goes out; null: it never did. */
  key_released_at: Timestamp | null
  expires_at: Timestamp
  withdrawn_at: Timestamp | null
  ended_at: Timestamp | null
  /** When its endpoint said last that a virtual machine that ran under it stands still in its memory; null: it does not. */
  paused_at: ColumnType<Date | null, Date | null | undefined, Date | null>
  /** Why it was withdrawn, as the person is told. */
  notice: Json<LeaseNotice> | null
  stats: Json<LeaseStats> | null
  /** When the audit log was told that what is written under it is copied to the data centre, and that such a copy was read. */
  replica_kept_at: ColumnType<Date | null, Date | null | undefined, Date | null>
  replica_read_at: ColumnType<Date | null, Date | null | undefined, Date | null>
}

type Timestamp = ColumnType<Date, Date, Date>
type Json<T> = ColumnType<T, string, string>

export type LeaseRow = Selectable<LeasesTable>
export type NewLease = Insertable<LeasesTable>
