import { createHash, X509Certificate } from 'node:crypto'
import { type PublicArea, requireEndorsementKey } from './public-area.ts'
import { TpmError } from './tpm-error.ts'

/** tcg-kp-EKCertificate: TCG EK Credential Profile, section 3.5.6. */
const ekUsage = '2.23.133.8.1'
const maxBytes = 8192

/**
 * Checks that a TPM's maker certified an endorsement key.
 *
 * Any of the site's authorities counts as it stands, an intermediate as well as a root: one of them must have issued the certificate
 * itself. Its own end is not looked at: makers give their chips dates that pass while machines are in use, and the key cannot leave the chip.
 *
 * Spec: TCG EK Credential Profile, section 3
 *
 * @param der the certificate, untrusted
 * @param ek public area of the key that is said to be in it, untrusted
 * @param authorities certificates that an admin put in
 * @returns SHA-256 of the key's public area, hex: what the TPM is known by
 * @throws {TpmError} TPM_MALFORMED, TPM_NOT_CONFIGURED, TPM_EK_UNTRUSTED, TPM_EK_MISMATCH, TPM_KEY_UNFIT
 */
export function verifyEndorsement(
  der: Uint8Array,
  ek: PublicArea,
  authorities: readonly X509Certificate[],
): string {
  if (authorities.length === 0)
    throw new TpmError('TPM_NOT_CONFIGURED', 'this site knows no maker of TPMs', {
      remedy:
        'Enrol with --tpm none, or have an admin name the maker’s certificates in the site’s configuration (tpm.authorities).',
    })
  const certificate = readCertificate(der)
  const issuer = authorities.find((one) => isIssuedBy(certificate, one))
  if (issuer === undefined || certificate.ca)
    throw new TpmError(
      'TPM_EK_UNTRUSTED',
      `no authority that this site trusts has certified this TPM; its issuer is ${certificate.issuer.replaceAll('\n', ', ').slice(0, 300)}`,
      { remedy: 'Have an admin add the maker’s certificate to tpm.authorities, or enrol with --tpm none.' },
    )
  if (!(certificate.keyUsage ?? []).includes(ekUsage))
    throw new TpmError('TPM_EK_UNTRUSTED', `expected a certificate for ${ekUsage}, an endorsement key`)
  requireEndorsementKey(ek)
  if (!isFor(certificate, ek))
    throw new TpmError('TPM_EK_MISMATCH', 'the certificate is for another endorsement key')
  return createHash('sha256').update(ek.bytes).digest('hex')
}

function isFor(certificate: X509Certificate, ek: PublicArea): boolean {
  try {
    return certificate.publicKey.equals(ek.key)
  } catch (cause) {
    // Some makers name the key's only use, RSAES-OAEP, in place of its algorithm.
    throw new TpmError('TPM_UNSUPPORTED', 'the key in the endorsement certificate cannot be read', { cause })
  }
}

/** @throws {TpmError} TPM_MALFORMED */
function readCertificate(der: Uint8Array): X509Certificate {
  try {
    if (der.length > maxBytes) throw new Error(`at most ${maxBytes} bytes, got ${der.length}`)
    return new X509Certificate(der)
  } catch (cause) {
    throw new TpmError('TPM_MALFORMED', 'the certificate of the endorsement key cannot be read', { cause })
  }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}
