import { createHash, timingSafeEqual, verify } from 'node:crypto'
import { encodeEcdsaSignature } from '#core/ecdsa/index.ts'
import { type ClockInfo, decodeQuote } from './attest.ts'
import type { PublicArea } from './public-area.ts'
import { decodeSignature, type TpmSignature } from './signature.ts'
import { TpmError } from './tpm-error.ts'

/** Values of the SHA-256 bank by PCR, 32 bytes each. */
export type PcrValues = ReadonlyMap<number, Uint8Array>

/** A quote that was verified: it is made by no one else. */
export interface VerifiedQuote {
  readonly pcrDigest: Uint8Array
  readonly pcrs: PcrValues
  readonly clockInfo: ClockInfo
  readonly firmwareVersion: bigint
}

const pcrBytes = 32

/**
 * Verifies that the TPM of a known key quoted these PCRs for this data. The signature is checked before anything is read.
 *
 * Spec: TPM 2.0 Library part 3, section 18.4 (TPM2_Quote)
 *
 * @param request.attest TPMS_ATTEST, untrusted
 * @param request.signature TPMT_SIGNATURE, untrusted
 * @param request.publicArea of an attestation key that was enrolled: `requireAttestationKey` held
 * @param request.extraData what the quote must be for: as a rule a hash with a nonce in it
 * @param request.pcrs values one after the other, in the order of the quote's selection, untrusted
 * @throws {TpmError} TPM_MALFORMED, TPM_UNSUPPORTED, TPM_QUOTE_FORGED (another key signed, or other bytes),
 *   TPM_QUOTE_WRONG_NONCE, TPM_QUOTE_WRONG_PCRS
 */
export function verifyQuote(request: {
  readonly attest: Uint8Array
  readonly signature: Uint8Array
  readonly publicArea: PublicArea
  readonly extraData: Uint8Array
  readonly pcrs: Uint8Array
}): VerifiedQuote {
  const { attest, publicArea, extraData, pcrs } = request
  const signature = decodeSignature(request.signature)
  if (signature.type !== publicArea.type || !isSigned(attest, signature, publicArea))
    throw new TpmError('TPM_QUOTE_FORGED', 'the quote is not signed by the attestation key of this endpoint')
  const quote = decodeQuote(attest)
  if (!equal(quote.extraData, extraData))
    throw new TpmError('TPM_QUOTE_WRONG_NONCE', 'the quote was made for something else')
  if (pcrs.length !== quote.pcrIndices.length * pcrBytes)
    throw new TpmError(
      'TPM_QUOTE_WRONG_PCRS',
      `expected ${quote.pcrIndices.length} PCR values, got ${pcrs.length} bytes`,
    )
  if (!equal(createHash(signature.hash).update(pcrs).digest(), quote.pcrDigest))
    throw new TpmError('TPM_QUOTE_WRONG_PCRS', 'the PCR values are not those that were quoted')
  return {
    pcrDigest: quote.pcrDigest,
    pcrs: new Map(
      quote.pcrIndices.map((pcr, place) => [pcr, pcrs.subarray(place * pcrBytes, (place + 1) * pcrBytes)]),
    ),
    clockInfo: quote.clockInfo,
    firmwareVersion: quote.firmwareVersion,
  }
}

function isSigned(attest: Uint8Array, { hash, type, r, s, rsa }: TpmSignature, key: PublicArea): boolean {
  if (type === 'rsa') return verify(hash, attest, key.key, rsa)
  return verify(hash, attest, key.key, encodeEcdsaSignature(r, s))
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
