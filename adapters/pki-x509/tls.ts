import { constants } from 'node:crypto'
import type { ConnectionOptions, TlsOptions } from 'node:tls'
import { identityOf } from './peer-identity.ts'
import { PkiError } from './pki-error.ts'
import type { Role } from './spiffe.ts'

/** A certificate chain and its private key, PEM. */
export interface TlsIdentity {
  readonly chainPem: string
  readonly privateKeyPem: string
}

/** Whom a client expects to reach. */
export interface ExpectedPeer {
  readonly siteId: string
  readonly role: Role
  /** Any of the role when left out. */
  readonly id?: string
}

/** TLS 1.3, and never a session again: each connection proves its certificate anew (invariant I2). */
const strict: { readonly minVersion: 'TLSv1.3'; readonly secureOptions: number } = {
  minVersion: 'TLSv1.3',
  secureOptions: constants.SSL_OP_NO_TICKET,
}

/**
 * Options for `tls.createServer` and `https.createServer`. For a renewed certificate give the whole result to
 * `server.setSecureContext`: new connections use it, old ones go on.
 *
 * @param clientRootPem when given, clients must prove a certificate of this authority; without it, they are browsers
 */
export function serverTls(identity: TlsIdentity, clientRootPem?: string): TlsOptions {
  const own = { ...strict, cert: identity.chainPem, key: identity.privateKeyPem }
  return clientRootPem === undefined
    ? own
    : { ...own, ca: clientRootPem, requestCert: true, rejectUnauthorized: true }
}

/**
 * Options for `tls.connect`, `https.request` and `ws` towards a part of the site. The peer is known by its SPIFFE
 * identity; names and addresses say only where it was looked for. For a renewed certificate call again.
 *
 * @param identity absent while joining, when there is no certificate yet
 */
export function clientTls(rootPem: string, peer: ExpectedPeer, identity?: TlsIdentity): ConnectionOptions {
  return {
    ...strict,
    ca: rootPem,
    rejectUnauthorized: true,
    ...(identity && { cert: identity.chainPem, key: identity.privateKeyPem }),
    checkServerIdentity: (_host, certificate) => checkPeer(certificate.raw, peer),
  }
}

function checkPeer(der: Uint8Array, peer: ExpectedPeer): Error | undefined {
  try {
    const { role, id } = identityOf(der, peer.siteId)
    if (role === peer.role && (peer.id === undefined || id === peer.id)) return undefined
    return new PkiError(
      'PKI_WRONG_PEER',
      `expected ${peer.role} ${peer.id ?? '(any)'}, reached ${role} ${id}`,
    )
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
