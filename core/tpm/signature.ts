import type { HashName } from './algorithms.ts'
import { hashOf, TPM_ALG } from './algorithms.ts'
import { TpmError } from './tpm-error.ts'
import { decodeWhole, readTpm2b } from './tpm2b.ts'

/** A signature of a TPM. */
export interface TpmSignature {
  readonly type: 'ecc' | 'rsa'
  readonly hash: HashName
  /** ECDSA: r and s as TPMs write them, without padding. */
  readonly r: Uint8Array
  readonly s: Uint8Array
  /** RSASSA (PKCS #1 v1.5). */
  readonly rsa: Uint8Array
}

const none = new Uint8Array()

/**
 * Decodes a TPMT_SIGNATURE, ECDSA or RSASSA.
 *
 * Spec: TPM 2.0 Library part 2, section 11.3.4: sigAlg u16 | hash u16 | ECDSA: r 2B, s 2B; RSASSA: 2B
 *
 * @param bytes untrusted
 * @throws {TpmError} TPM_MALFORMED, TPM_UNSUPPORTED
 */
export function decodeSignature(bytes: Uint8Array): TpmSignature {
  return decodeWhole(bytes, 1024, 'TPMT_SIGNATURE', (reader) => {
    const scheme = reader.u16()
    if (scheme !== TPM_ALG.ECDSA && scheme !== TPM_ALG.RSASSA)
      throw new TpmError('TPM_UNSUPPORTED', `expected ECDSA or RSASSA, got 0x${scheme.toString(16)}`)
    const hash = hashOf(reader.u16())
    if (scheme === TPM_ALG.ECDSA)
      return { type: 'ecc', hash, r: readTpm2b(reader, 66), s: readTpm2b(reader, 66), rsa: none }
    return { type: 'rsa', hash, r: none, s: none, rsa: readTpm2b(reader, 512) }
  })
}
