export {
  type Authority,
  createAuthority,
  isRenewalDue,
  openAuthority,
  renewIntermediate,
} from './authority.ts'
export { readCertificate, type Validity, validityOf } from './certificate.ts'
export { verifyRequest } from './certificate-request.ts'
export {
  type EnrolmentKind,
  type EnrolmentToken,
  makeToken,
  parseToken,
  secretHash,
  verifyPinnedRoot,
} from './enrolment-token.ts'
export { type IssuedLeaf, issueLeaf, type LeafOrder, longestLeafMs, renewAt } from './issue-leaf.ts'
export { createIdentityKey, exportPublic, type IdentityKey, requestFor } from './keys.ts'
export { pastIdentityOf } from './past-identity.ts'
export { type ExpectedPeer, identityOf, type PeerIdentity, peerIdentity } from './peer-identity.ts'
export { PkiError, type PkiErrorCode } from './pki-error.ts'
export { selfSigned, siteOfRoot } from './self-signed.ts'
export { formatSpiffe, parseSpiffe, type Role, type SpiffeIdentity } from './spiffe.ts'
export { channelBinding, clientTls, serverTls, type TlsIdentity } from './tls.ts'
export { isUnknownAuthority, whyUnreachable } from './unknown-authority.ts'
