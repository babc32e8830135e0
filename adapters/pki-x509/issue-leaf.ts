import type { ExtendedKeyUsage } from '@peculiar/x509'
import { type Authority, backdateMs } from './authority.ts'
import { createSerial, signingAlgorithm } from './keys.ts'
import { PkiError } from './pki-error.ts'
import { formatSpiffe, type Role } from './spiffe.ts'
import { x509 } from './x509.ts'

/** No leaf lives longer: there is no revocation list, only the refusal to renew. */
export const longestLeafMs = 86_400_000

/** What a leaf certificate is to say. All of it is the site's own knowledge, none of it the requester's. */
export interface LeafOrder {
  /** SubjectPublicKeyInfo, DER, from `verifyRequest` or `createIdentityKey`. */
  readonly publicKey: Uint8Array<ArrayBuffer>
  readonly role: Role
  readonly id: string
  readonly dnsNames?: readonly string[]
  readonly ipAddresses?: readonly string[]
  readonly usages: 'client' | 'server' | 'both'
  /** At most 24 h; shorter when the intermediate ends sooner. */
  readonly lifetimeMs: number
  /** Milliseconds since 1970. */
  readonly now: number
}

export interface IssuedLeaf {
  /** Leaf, then intermediate; PEM. */
  readonly chainPem: string
  readonly serialNumber: string
  /** Milliseconds since 1970. */
  readonly notBefore: number
  readonly notAfter: number
}

/**
 * Issues a certificate for one of the site's own parts.
 *
 * Source: RFC 5280, section 4.2; SPIFFE X509-SVID, sections 2 and 4
 *
 * @throws {PkiError} PKI_BAD_LIFETIME, PKI_BAD_IDENTITY, PKI_AUTHORITY_EXPIRED
 */
export async function issueLeaf(authority: Authority, order: LeafOrder): Promise<IssuedLeaf> {
  const { now, lifetimeMs, publicKey } = order
  if (!(lifetimeMs > 0 && lifetimeMs <= longestLeafMs))
    throw new PkiError(
      'PKI_BAD_LIFETIME',
      `expected a lifetime of up to ${longestLeafMs} ms, got ${lifetimeMs}`,
    )
  if (authority.intermediateNotAfter <= now)
    throw new PkiError('PKI_AUTHORITY_EXPIRED', 'the intermediate certificate of the site has expired', {
      remedy: 'Renew it with the root key: `trustcast authority renew`.',
    })
  const {
    AuthorityKeyIdentifierExtension,
    BasicConstraintsExtension,
    ExtendedKeyUsageExtension,
    KeyUsageFlags,
    KeyUsagesExtension,
    SubjectAlternativeNameExtension,
    SubjectKeyIdentifierExtension,
    X509Certificate,
    X509CertificateGenerator,
  } = x509()
  const issuer = new X509Certificate(authority.intermediatePem)
  const notBefore = new Date(now - backdateMs)
  const notAfter = new Date(Math.min(now + lifetimeMs, authority.intermediateNotAfter))
  const leaf = await X509CertificateGenerator.create({
    serialNumber: createSerial(),
    subject: [{ CN: [`${order.role} ${order.id}`.slice(0, 64)] }],
    issuer: issuer.subjectName,
    notBefore,
    notAfter,
    publicKey,
    signingKey: authority.signingKey,
    signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension(extendedUsages(order.usages)),
      new SubjectAlternativeNameExtension(alternativeNames(authority.siteId, order)),
      await SubjectKeyIdentifierExtension.create(publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return {
    chainPem: `${leaf.toString('pem')}\n${authority.intermediatePem}`,
    serialNumber: leaf.serialNumber,
    notBefore: leaf.notBefore.getTime(),
    notAfter: leaf.notAfter.getTime(),
  }
}

/**
 * When to fetch the next certificate, milliseconds since 1970: at half of the lifetime, up to a tenth of it earlier, so
 * that a thousand hosts that joined together do not renew together.
 *
 * @param jitter from 0 (inclusive) to 1, random
 */
export function renewAt(validity: { notBefore: number; notAfter: number }, jitter: number): number {
  return validity.notBefore + (validity.notAfter - validity.notBefore) * (0.5 - 0.1 * jitter)
}

function extendedUsages(usages: LeafOrder['usages']): ExtendedKeyUsage[] {
  const { clientAuth, serverAuth } = x509().ExtendedKeyUsage
  const all = { client: [clientAuth], server: [serverAuth], both: [serverAuth, clientAuth] }
  return all[usages]
}

function alternativeNames(
  siteId: string,
  { role, id, dnsNames = [], ipAddresses = [] }: LeafOrder,
): { type: 'url' | 'dns' | 'ip'; value: string }[] {
  return [
    { type: 'url', value: formatSpiffe({ siteId, role, id }) },
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
  ]
}
