import { X509Certificate as NodeCertificate } from 'node:crypto'
import { decodePem } from './pem.ts'
import { PkiError } from './pki-error.ts'
import { x509 } from './x509.ts'

/** More than any certificate of ours has. */
const certificateLimitBytes = 16_384

/** The span a certificate is valid in, milliseconds since 1970. */
export interface Validity {
  readonly notBefore: number
  readonly notAfter: number
}

/**
 * Reads exactly one certificate.
 *
 * @param pem untrusted
 * @throws {PkiError} PKI_BAD_CERTIFICATE
 */
export function readCertificate(pem: string): NodeCertificate {
  const der = decodePem(pem, 'CERTIFICATE', certificateLimitBytes)
  if (der === undefined) throw bad('expected one PEM block "CERTIFICATE"')
  try {
    return new NodeCertificate(der)
  } catch (cause) {
    throw bad('it cannot be read', cause)
  }
}

/**
 * The validity of the first certificate of a chain.
 *
 * @throws {PkiError} PKI_BAD_CERTIFICATE
 */
export function validityOf(chainPem: string): Validity {
  const end = '-----END CERTIFICATE-----'
  const { validFromDate, validToDate } = readCertificate(
    chainPem.slice(0, chainPem.indexOf(end) + end.length),
  )
  return { notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() }
}

/**
 * The only URI among the subject's alternative names. X.509-SVIDs have exactly one; with several, two readers could see
 * two different peers.
 *
 * Source: SPIFFE X509-SVID, section 2
 *
 * @param der untrusted
 * @throws {PkiError} PKI_BAD_CERTIFICATE, PKI_BAD_IDENTITY
 */
export function soleUri(der: Uint8Array): string {
  const uris = alternativeNames(der).filter(({ type }) => type === 'url')
  const [uri] = uris
  if (uri !== undefined && uris.length === 1) return uri.value
  throw new PkiError('PKI_BAD_IDENTITY', `expected exactly one URI in the certificate, found ${uris.length}`)
}

function alternativeNames(der: Uint8Array): readonly { type: string; value: string }[] {
  if (der.length > certificateLimitBytes)
    throw bad(`expected at most ${certificateLimitBytes} bytes, got ${der.length}`)
  const { SubjectAlternativeNameExtension, X509Certificate } = x509()
  try {
    const certificate = new X509Certificate(new Uint8Array(der), {
      berOptions: { maxDepth: 16, maxNodes: 500 },
    })
    // All of them: a second extension of the same kind must not hide behind the first.
    return certificate.extensions
      .filter((extension) => extension instanceof SubjectAlternativeNameExtension)
      .flatMap(({ names }) => names.items.map(({ type, value }) => ({ type, value })))
  } catch (cause) {
    throw bad('it cannot be read', cause)
  }
}

function bad(why: string, cause?: unknown): PkiError {
  return new PkiError('PKI_BAD_CERTIFICATE', `the certificate is refused: ${why}`, { cause })
}
