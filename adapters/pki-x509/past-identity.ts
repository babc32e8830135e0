import { type KeyObject, X509Certificate } from 'node:crypto'
import { readCertificate } from './certificate.ts'
import { identityOf, type PeerIdentity } from './peer-identity.ts'
import { PkiError } from './pki-error.ts'

/** Whom a certificate of the site named, be it over or not. */
interface PastIdentity extends PeerIdentity {
  readonly publicKey: KeyObject
}

/**
 * Reads whom a chain named that ends at the site's root. It proves nothing about who shows it, nor that it is good now.
 *
 * @param chainPem leaf, then intermediate; untrusted
 * @throws {PkiError} PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY, PKI_WRONG_SITE, PKI_UNPROVEN_PEER when the root did not certify it
 */
export function pastIdentityOf(chainPem: string, rootPem: string, siteId: string): PastIdentity {
  const [leaf, intermediate] = chainPem.split(/(?<=-----END CERTIFICATE-----)/, 2).map(readCertificate)
  const root = new X509Certificate(rootPem)
  const isCertified =
    leaf !== undefined &&
    intermediate?.ca === true &&
    intermediate.checkIssued(root) &&
    intermediate.verify(root.publicKey) &&
    leaf.checkIssued(intermediate) &&
    leaf.verify(intermediate.publicKey)
  if (!isCertified) throw new PkiError('PKI_UNPROVEN_PEER', 'expected a chain that the site has certified')
  return { ...identityOf(leaf.raw, siteId), publicKey: leaf.publicKey }
}
