import type { Reader } from '#core/bytes/index.ts'
import { TPM_ALG } from './algorithms.ts'
import { malformed, TpmError } from './tpm-error.ts'
import { decodeWhole, readTpm2b } from './tpm2b.ts'

/** The TPM's clock as it was when it signed. */
export interface ClockInfo {
  /** ms that the TPM was powered. */
  readonly clock: bigint
  /** Times the TPM was reset: it only grows, so a machine that was put back shows a lower one. */
  readonly resetCount: number
  readonly restartCount: number
  /** False when the clock may have been higher before. */
  readonly safe: boolean
}

/** What a quote says. */
export interface Quote {
  /** Qualified name of the key that signed. */
  readonly qualifiedSigner: Uint8Array
  readonly extraData: Uint8Array
  readonly clockInfo: ClockInfo
  readonly firmwareVersion: bigint
  /** Of the SHA-256 bank, ascending. */
  readonly pcrIndices: readonly number[]
  readonly pcrDigest: Uint8Array
}

const TPM_GENERATED_VALUE = 0xff544347
const TPM_ST_ATTEST_QUOTE = 0x8018
const maxBytes = 1024
const maxSelectionBytes = 3

/**
 * Decodes a TPMS_ATTEST of a quote over one bank of PCRs, SHA-256.
 *
 * Spec: TPM 2.0 Library part 2, section 10.12.12: magic u32 | type u16 | qualifiedSigner 2B | extraData 2B | clock u64 |
 * resetCount u32 | restartCount u32 | safe u8 | firmwareVersion u64 | count u32, (hash u16 | size u8 | bits)* | pcrDigest 2B
 *
 * @param bytes untrusted
 * @throws {TpmError} TPM_MALFORMED, TPM_UNSUPPORTED
 */
export function decodeQuote(bytes: Uint8Array): Quote {
  return decodeWhole(bytes, maxBytes, 'TPMS_ATTEST', (reader) => {
    // What no TPM made cannot begin so and be signed by a restricted key: part 1, section 31.2.
    if (reader.u32() !== TPM_GENERATED_VALUE) throw malformed('TPMS_ATTEST that begins with TPM_GENERATED')
    const type = reader.u16()
    if (type !== TPM_ST_ATTEST_QUOTE)
      throw new TpmError('TPM_UNSUPPORTED', `expected a quote, got an attestation 0x${type.toString(16)}`)
    return {
      qualifiedSigner: readTpm2b(reader, 66),
      extraData: readTpm2b(reader, 66),
      clockInfo: {
        clock: reader.u64(),
        resetCount: reader.u32(),
        restartCount: reader.u32(),
        safe: reader.u8() === 1,
      },
      firmwareVersion: reader.u64(),
      pcrIndices: readSelection(reader),
      pcrDigest: readTpm2b(reader, 64),
    }
  })
}

function readSelection(reader: Reader): readonly number[] {
  const count = reader.u32()
  if (count !== 1) throw new TpmError('TPM_UNSUPPORTED', `expected one bank of PCRs, got ${count}`)
  const bank = reader.u16()
  if (bank !== TPM_ALG.SHA256)
    throw new TpmError('TPM_UNSUPPORTED', `expected the bank SHA-256, got 0x${bank.toString(16)}`)
  const size = reader.u8()
  if (size > maxSelectionBytes) throw malformed(`selection of at most ${maxSelectionBytes} bytes`)
  const bits = reader.bytes(size)
  return Array.from({ length: 8 * size }, (_, pcr) => pcr).filter(
    (pcr) => ((bits[pcr >> 3] ?? 0) & (1 << (pcr & 7))) !== 0,
  )
}
