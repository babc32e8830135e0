export { type Appender, type AppenderOptions, createAppender } from './batcher.ts'
export {
  type Checkpoint,
  openCheckpoint,
  signCheckpoint,
} from './checkpoint.ts'
export { AuditError, type AuditErrorCode } from './errors.ts'
export {
  AUDIT_KINDS,
  type AuditActor,
  type AuditData,
  type AuditEntry,
  type AuditKind,
  decodeEntry,
  encodeEntry,
} from './leaf.ts'
export type { FileReader, LogFaultCode } from './log-files.ts'
export {
  type Frontier,
  type Hash,
  leafHash,
} from './merkle.ts'
export {
  encodeVerifierKey,
  type Note,
  type NoteSignature,
  type NoteSigner,
  type NoteVerifier,
  parseVerifierKey,
} from './note.ts'
export { type EntrySubjects, workspaceSubject } from './subjects.ts'
export {
  changedTiles,
  decodeEntryBundle,
  parseTilePath,
  TILE_WIDTH,
  type Tile,
  tilePath,
} from './tiles.ts'
export {
  type EntryProof,
  formatTlogProof,
  MAX_PROOF_BYTES,
  openTlogProof,
  type ProvenEntry,
} from './tlog-proof.ts'
export { type LogVerdict, type VerifyOptions, verifyLog } from './verify.ts'
