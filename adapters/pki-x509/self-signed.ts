import { createPublicKey, type KeyObject } from 'node:crypto'
import { readCertificate, soleUri } from './certificate.ts'
import { createSerial } from './keys.ts'
import { PkiError } from './pki-error.ts'
import type { TlsIdentity } from './tls.ts'
import { x509 } from './x509.ts'

const lifetimeMs = 10 * 365 * 86_400_000
const backdateMs = 86_400_000

/**
 * A certificate that says nothing but its key, for a server whose key is all that its clients know of it.
 *
 * @param key Ed25519, private
 * @param now milliseconds since 1970
 */
export async function selfSigned(key: KeyObject, name: string, now: number): Promise<TlsIdentity> {
  const keys = {
    privateKey: key.toCryptoKey('Ed25519', false, ['sign']),
    publicKey: createPublicKey(key).toCryptoKey('Ed25519', true, ['verify']),
  }
  const certificate = await x509().X509CertificateGenerator.createSelfSigned({
    serialNumber: createSerial(),
    name: [{ CN: [name.slice(0, 64)] }],
    notBefore: new Date(now - backdateMs),
    notAfter: new Date(now + lifetimeMs),
    keys,
    signingAlgorithm: { name: 'Ed25519' },
  })
  return {
    chainPem: certificate.toString('pem'),
    privateKeyPem: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

/**
 * The site that a root certificate is of.
 *
 * @param rootPem from whoever set this machine up
 * @throws {PkiError} PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY
 */
export function siteOfRoot(rootPem: string): string {
  const [, siteId] = /^spiffe:\/\/([a-z0-9-]{1,64})$/.exec(soleUri(readCertificate(rootPem).raw)) ?? []
  if (siteId !== undefined) return siteId
  throw new PkiError('PKI_BAD_IDENTITY', 'expected the root certificate of a site, which names the site')
}
