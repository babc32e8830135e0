import { TpmError } from './tpm-error.ts'

/** Numbers of algorithms, curves and structure tags: TPM 2.0 Library part 2, sections 6.3, 6.4 and 6.9; TCG Algorithm Registry. */

export const TPM_ALG: {
  readonly RSA: 0x01
  readonly AES: 0x06
  readonly SHA256: 0x0b
  readonly SHA384: 0x0c
  readonly SHA512: 0x0d
  readonly NULL: 0x10
  readonly RSASSA: 0x14
  readonly RSAES: 0x15
  readonly ECDSA: 0x18
  readonly ECDAA: 0x1a
  readonly ECC: 0x23
  readonly CFB: 0x43
} = {
  RSA: 0x01,
  AES: 0x06,
  SHA256: 0x0b,
  SHA384: 0x0c,
  SHA512: 0x0d,
  NULL: 0x10,
  RSASSA: 0x14,
  RSAES: 0x15,
  ECDSA: 0x18,
  ECDAA: 0x1a,
  ECC: 0x23,
  CFB: 0x43,
}

/** Hashes as OpenSSL names them. SHA-1 is none here. */
export type HashName = 'sha256' | 'sha384' | 'sha512'

const hashes: ReadonlyMap<number, readonly [HashName, number]> = new Map([
  [TPM_ALG.SHA256, ['sha256', 32]],
  [TPM_ALG.SHA384, ['sha384', 48]],
  [TPM_ALG.SHA512, ['sha512', 64]],
])

/** @throws {TpmError} TPM_UNSUPPORTED */
export function hashOf(algorithm: number): HashName {
  return entryOf(algorithm)[0]
}

/** Of the hash's values. @throws {TpmError} TPM_UNSUPPORTED */
export function digestBytes(algorithm: number): number {
  return entryOf(algorithm)[1]
}

function entryOf(algorithm: number): readonly [HashName, number] {
  const entry = hashes.get(algorithm)
  if (entry !== undefined) return entry
  throw new TpmError(
    'TPM_UNSUPPORTED',
    `expected SHA-256, SHA-384 or SHA-512, got algorithm 0x${algorithm.toString(16)}`,
  )
}
