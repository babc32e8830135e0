export { ReplicaError, type ReplicaErrorCode } from './errors.ts'
export { ReplicaKeys, type ReplicaOf } from './keys.ts'
export {
  decodeManifest,
  encodeManifest,
  isSealedBy,
  longestManifestBytes,
  openManifest,
  type ReplicaManifest,
} from './manifest.ts'
export {
  decodePiece,
  encodePiece,
  longestSealedBytes,
  openPiece,
  pieceName,
  sealPiece,
} from './piece.ts'
export type { ReplicaStore } from './replica-store.ts'
export {
  type KnownReplica,
  noReplica,
  type ReplicaStart,
  type ReplicaState,
  type StartingPoint,
  startOf,
} from './start.ts'
export { copyOfTable, emptyTable, isWhole, type PieceTable, setPiece } from './table.ts'
