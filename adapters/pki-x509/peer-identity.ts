import type { TLSSocket } from 'node:tls'
import { soleUri } from './certificate.ts'
import { PkiError } from './pki-error.ts'
import { parseSpiffe, type Role } from './spiffe.ts'

/** Who is at the other end of a connection, proven by its key. */
export interface PeerIdentity {
  readonly role: Role
  readonly id: string
}

/**
 * The part of this site that is at the other end.
 *
 * INVARIANT: only a full handshake counts. A resumed one is accepted by OpenSSL without looking at the certificate again,
 * even when it has expired; `serverTls` makes none possible and this refuses it still.
 *
 * @throws {PkiError} PKI_UNPROVEN_PEER, PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY, PKI_WRONG_SITE
 */
export function peerIdentity(socket: TLSSocket, siteId: string): PeerIdentity {
  const certificate = socket.getPeerX509Certificate()
  if (!socket.authorized || socket.isSessionReused() || certificate === undefined)
    throw new PkiError('PKI_UNPROVEN_PEER', 'expected a peer with a verified certificate of a full handshake')
  return identityOf(certificate.raw, siteId)
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
