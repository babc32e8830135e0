export { type AcceptedRelease, acceptRelease, type Floors } from './accept.ts'
export {
  type Direction,
  type ExpectedDirection,
  signDirection,
  type VerifiedDirection,
  verifyDirection,
} from './direction.ts'
export { type EndingRole, endingRoles } from './ending.ts'
export { ReleaseError, type ReleaseErrorCode } from './errors.ts'
export {
  checkKey,
  decodePublicKey,
  encodePublicKey,
  isSignedBy,
  keyIdOf,
  keyLabel,
  memorySigner,
  type ReleaseSigner,
  type TufKey,
  tufKey,
  tufKeyOf,
} from './keys.ts'
export {
  decodeAnyMetadata,
  decodeMetadata,
  type Metadata,
  type MetadataKind,
  maximumMetadataBytes,
  type Signature,
} from './metadata.ts'
export { metadataFileName, parseMetadataFileName } from './metadata-files.ts'
export { isImageName, labelPattern } from './names.ts'
export {
  changedReleases,
  findRelease,
  type ListedRelease,
  listReleases,
  proposeRelease,
  proposeRollback,
  retireRelease,
  type SignedRelease,
} from './propose-release.ts'
export {
  defaultLifetimes,
  type KeySet,
  proposeFamily,
  proposeRenewal,
  proposeRoot,
} from './propose-roles.ts'
export { type OnlineKeys, type Proposals, publish, type Repository } from './publish.ts'
export {
  attachSignature,
  familyRole,
  type KeyReference,
  type RoleKeys,
  rootRole,
  type SignatureState,
  signatureState,
  signMetadata,
  type Verified,
  verifyMetadata,
} from './signatures.ts'
export { type ChannelState, type DirectedEndpoint, directedVersion, type Wave } from './waves.ts'
