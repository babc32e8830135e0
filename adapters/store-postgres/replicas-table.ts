import type { ColumnType, Insertable, Selectable } from 'kysely'

/** Copies in the data centre of what is written on endpoints, one for each overlay that a person has. */
export interface ReplicasTable {
  id: string
  person_id: string
  /** The workspace whose VM writes it; empty for disks, which a person's workspaces share. */
  scope: string
  image: string
  /** Of the image's content, which several releases may have. */
  version: string
  /** Of the state that it is in; 0 before the first. */
  sequence: ColumnType<string, number | undefined, number>
  /** SHA-256 of that state's manifest, hex. */
  manifest: ColumnType<string | null, string | null | undefined, string | null>
  /** Of that state's pieces, as they are stored. */
  bytes: ColumnType<string, number | undefined, number>
  /** Of all pieces that are stored or about to be. */
  stored: ColumnType<string, number | undefined, string>
  /** Under which it was last written. */
  lease_id: string
  made_at: ColumnType<Date, Date, Date>
  committed_at: ColumnType<Date | null, Date | null | undefined, Date | null>
}

export type ReplicaRow = Selectable<ReplicasTable>
export type NewReplica = Insertable<ReplicasTable>
