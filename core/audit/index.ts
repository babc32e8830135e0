export { type GrownTree, growTree } from './append-tree.ts'
export { type Appender, type AppenderOptions, createAppender } from './batcher.ts'
export {
  type Checkpoint,
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
  signCheckpoint,
} from './checkpoint.ts'
export { AuditError, type AuditErrorCode } from './errors.ts'
export {
  ACTOR_TYPES,
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
  appendLeaves,
  decodeFrontier,
  EMPTY_FRONTIER,
  EMPTY_ROOT,
  encodeFrontier,
  type Frontier,
  frontierRoot,
  HASH_BYTES,
  type Hash,
  leafHash,
  nodeHash,
  treeHash,
} from './merkle.ts'
export {
  encodeVerifierKey,
  MAX_NOTE_BYTES,
  type Note,
  type NoteSignature,
  type NoteSigner,
  type NoteVerifier,
  parseNote,
  parseVerifierKey,
  signNote,
  verifyNote,
} from './note.ts'
export {
  type HashReader,
  type Inclusion,
  type Proof,
  proveInclusion,
  type Subtree,
  verifyInclusion,
} from './proof.ts'
export { type EntrySubjects, subjectsOf, workspaceSubject } from './subjects.ts'
export {
  changedTiles,
  decodeEntryBundle,
  encodeEntryBundle,
  encodeHashTile,
  MAX_BUNDLE_BYTES,
  MAX_ENTRY_BYTES,
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
  parseTlogProof,
} from './tlog-proof.ts'
export { type LogVerdict, type VerifyOptions, verifyLog } from './verify.ts'
