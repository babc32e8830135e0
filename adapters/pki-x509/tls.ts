import { constants } from 'node:crypto'
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls'
import { checkPeer, type ExpectedPeer } from './peer-identity.ts'

/** A certificate chain and its private key, PEM. */
export interface TlsIdentity {
  readonly chainPem: string
  readonly privateKeyPem: string
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
    checkServerIdentity: (_host, certificate) => refusalOf(() => checkPeer(certificate.raw, peer)),
  }
}

/**
 * What names one TLS connection, equal on both of its ends and on no two connections: whoever opens it in the middle has two others.
 *
 * Spec: RFC 9266, exporter with label "EXPORTER-Channel-Binding" and no context.
 *
 * @param socket after its handshake
 * @returns 32 bytes, base64url
 */
export function channelBinding(socket: TLSSocket): string {
  return socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)).toString('base64url')
}

function refusalOf(check: () => void): Error | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
