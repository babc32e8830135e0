import type { TLSSocket } from 'node:tls'
import { soleUri } from './certificate.ts'
import { PkiError } from './pki-error.ts'
import { parseSpiffe, type Role, roles } from './spiffe.ts'

/** Who is at the other end of a connection, proven by its key. */
export interface PeerIdentity {
  readonly role: Role
  readonly id: string
}

/** Whom one side of a connection expects at the other. */
export interface ExpectedPeer {
  readonly siteId: string
  readonly role: Role
  /** Any of the role when left out. */
  readonly id?: string
}

/**
 * The part of this site that is at the other end.
 *
 * INVARIANT: only a full handshake counts. A resumed one is accepted by OpenSSL without looking at the certificate again,
 * even when it has expired; `serverTls` makes none possible and this refuses it still.
 *
 * @param allowed the roles that have any business here; all when the caller tells them apart itself
 * @throws {PkiError} PKI_UNPROVEN_PEER, PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY, PKI_WRONG_SITE, PKI_WRONG_PEER
 */
export function peerIdentity(
  socket: TLSSocket,
  siteId: string,
  allowed: readonly Role[] = roles,
): PeerIdentity {
  const certificate = socket.getPeerX509Certificate()
  if (!socket.authorized || socket.isSessionReused() || certificate === undefined)
    throw new PkiError('PKI_UNPROVEN_PEER', 'expected a peer with a verified certificate of a full handshake')
  const identity = identityOf(certificate.raw, siteId)
  if (allowed.includes(identity.role)) return identity
  throw wrongPeer(allowed.join(' or '), identity)
}

/** @throws {PkiError} PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY, PKI_WRONG_SITE, PKI_WRONG_PEER */
export function checkPeer(der: Uint8Array, expected: ExpectedPeer): void {
  const found = identityOf(der, expected.siteId)
  if (found.role !== expected.role || (expected.id !== undefined && found.id !== expected.id))
    throw wrongPeer(`${expected.role} ${expected.id ?? ''}`.trim(), found)
}

/**
 * The identity that a certificate names. It says nothing about who signed it: verify first.
 *
 * @param der untrusted
 * @throws {PkiError} PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY, PKI_WRONG_SITE
 */
export function identityOf(der: Uint8Array, siteId: string): PeerIdentity {
  const { siteId: found, role, id } = parseSpiffe(soleUri(der))
  if (found === siteId) return { role, id }
  throw new PkiError('PKI_WRONG_SITE', `expected a certificate of site ${siteId}, got one of ${found}`)
}

function wrongPeer(expected: string, { role, id }: PeerIdentity): PkiError {
  return new PkiError('PKI_WRONG_PEER', `expected ${expected} at the other end, found ${role} ${id}`)
}
