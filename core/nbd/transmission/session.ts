import type { NbdExport } from '../nbd-export.ts'

/** What the handshake settled for the transmission that follows it. */
export interface Session {
  readonly export: NbdExport
  /** NBD_OPT_STRUCTURED_REPLY was negotiated. */
  readonly structured: boolean
  /** `base:allocation` of this export was chosen. */
  readonly allocation: boolean
}
