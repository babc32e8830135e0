import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import type { Reader } from '#core/bytes/index.ts'
import { readPublicKey } from '#core/ecdsa/index.ts'
import { hashOf, TPM_ALG } from './algorithms.ts'
import { malformed, TpmError } from './tpm-error.ts'
import { decodeWhole, readTpm2b } from './tpm2b.ts'

/** Bits of TPMA_OBJECT: TPM 2.0 Library part 2, section 8.3. */
export const TPMA_OBJECT: {
  readonly fixedTPM: 0x2
  readonly fixedParent: 0x10
  readonly sensitiveDataOrigin: 0x20
  readonly restricted: 0x10000
  readonly decrypt: 0x20000
  readonly sign: 0x40000
} = {
  fixedTPM: 0x2,
  fixedParent: 0x10,
  sensitiveDataOrigin: 0x20,
  restricted: 0x10000,
  decrypt: 0x20000,
  sign: 0x40000,
}

/** Public area of a key in a TPM. */
export interface PublicArea {
  readonly type: 'ecc' | 'rsa'
  /** Algorithm of the object's name, and of what is derived for the object. */
  readonly nameAlg: number
  /** TPMA_OBJECT. */
  readonly attributes: number
  /** Of a storage key: what protects its children. */
  readonly symmetric: { readonly algorithm: number; readonly keyBits: number; readonly mode: number }
  /** TPM_ALG_NULL when each use of the key says its scheme. */
  readonly scheme: number
  readonly key: KeyObject
  /** What was decoded. */
  readonly bytes: Uint8Array
}

const maxBytes = 1024
const maxKeyBytes = 512
const curves: ReadonlyMap<number, { readonly spkiPrefix: Buffer; readonly coordinateBytes: number }> =
  new Map([
    // SubjectPublicKeyInfo up to the point: RFC 5480, section 2. P-256 and P-384.
    [3, { spkiPrefix: hex('3059301306072a8648ce3d020106082a8648ce3d03010703420004'), coordinateBytes: 32 }],
    [4, { spkiPrefix: hex('3076301006072a8648ce3d020106052b8104002203620004'), coordinateBytes: 48 }],
  ])

/**
 * Decodes a TPMT_PUBLIC of an ECC (P-256, P-384) or RSA key.
 *
 * Spec: TPM 2.0 Library part 2, section 12.2.4: type u16 | nameAlg u16 | objectAttributes u32 | authPolicy 2B |
 * ECC: symmetric, scheme, curve u16, kdf | point 2B 2B; RSA: symmetric, scheme, keyBits u16, exponent u32 | modulus 2B
 *
 * @param bytes untrusted, without the size that a TPM2B_PUBLIC has before it
 * @throws {TpmError} TPM_MALFORMED, TPM_UNSUPPORTED
 */
export function decodePublicArea(bytes: Uint8Array): PublicArea {
  return decodeWhole(bytes, maxBytes, 'TPMT_PUBLIC', (reader) => {
    const type = reader.u16()
    if (type !== TPM_ALG.ECC && type !== TPM_ALG.RSA)
      throw new TpmError('TPM_UNSUPPORTED', `expected an ECC or RSA key, got type 0x${type.toString(16)}`)
    const nameAlg = reader.u16()
    hashOf(nameAlg)
    const attributes = reader.u32()
    readTpm2b(reader, 64)
    const symmetric = readSymmetric(reader)
    const scheme = readScheme(reader)
    const key = type === TPM_ALG.ECC ? readEccKey(reader) : readRsaKey(reader)
    return { type: type === TPM_ALG.ECC ? 'ecc' : 'rsa', nameAlg, attributes, symmetric, scheme, key, bytes }
  })
}

/** Name of an object: nameAlg u16, then the hash of its public area. Source: TPM 2.0 Library part 1, section 16. */
export function nameOf({ nameAlg, bytes }: PublicArea): Buffer {
  const prefix = Buffer.alloc(2)
  prefix.writeUInt16BE(nameAlg)
  return Buffer.concat([prefix, createHash(hashOf(nameAlg)).update(bytes).digest()])
}

/**
 * A key that its TPM made, that cannot leave it, and that signs only what the TPM says itself: else a quote would say nothing.
 *
 * Source: TPM 2.0 Library part 1, section 25.5 (restricted); TCG TPM v2.0 Provisioning Guidance
 *
 * @throws {TpmError} TPM_KEY_UNFIT
 */
export function requireAttestationKey({ attributes }: PublicArea): void {
  const { fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, decrypt } = TPMA_OBJECT
  require(attributes, fixedTPM |
    fixedParent |
    sensitiveDataOrigin |
    restricted |
    sign, decrypt, 'attestation')
}

/**
 * A key that only decrypts what has the form of a credential or of a child: what the TPM's maker certified.
 *
 * Source: TCG EK Credential Profile, section 2.1.5 and appendix B
 *
 * @throws {TpmError} TPM_KEY_UNFIT
 */
export function requireEndorsementKey({ attributes }: PublicArea): void {
  const { fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, decrypt } = TPMA_OBJECT
  require(attributes, fixedTPM |
    fixedParent |
    sensitiveDataOrigin |
    restricted |
    decrypt, sign, 'endorsement')
}

function require(attributes: number, set: number, clear: number, kind: string): void {
  if ((attributes & set) === set && (attributes & clear) === 0) return
  throw new TpmError(
    'TPM_KEY_UNFIT',
    `expected the attributes of an ${kind} key, 0x${set.toString(16)}, got 0x${attributes.toString(16)}`,
  )
}

function readSymmetric(reader: Reader): PublicArea['symmetric'] {
  const algorithm = reader.u16()
  if (algorithm === TPM_ALG.NULL) return { algorithm, keyBits: 0, mode: TPM_ALG.NULL }
  return { algorithm, keyBits: reader.u16(), mode: reader.u16() }
}

/** Spec: part 2, section 11.2: the hash follows; RSAES has none, ECDAA a counter beside it. */
function readScheme(reader: Reader): number {
  const scheme = reader.u16()
  if (scheme !== TPM_ALG.NULL && scheme !== TPM_ALG.RSAES) reader.u16()
  if (scheme === TPM_ALG.ECDAA) reader.u16()
  return scheme
}

function readEccKey(reader: Reader): KeyObject {
  const curve = reader.u16()
  readScheme(reader)
  const known = curves.get(curve)
  if (known === undefined)
    throw new TpmError('TPM_UNSUPPORTED', `expected curve P-256 or P-384, got 0x${curve.toString(16)}`)
  const { spkiPrefix, coordinateBytes } = known
  const coordinate = () => padded(readTpm2b(reader, coordinateBytes), coordinateBytes)
  return importKey(Buffer.concat([spkiPrefix, coordinate(), coordinate()]))
}

function readRsaKey(reader: Reader): KeyObject {
  const keyBits = reader.u16()
  const exponent = reader.u32()
  const modulus = readTpm2b(reader, maxKeyBytes)
  if (keyBits < 2048 || modulus.length * 8 !== keyBits)
    throw new TpmError(
      'TPM_UNSUPPORTED',
      `expected RSA of 2048 bits or more, got ${modulus.length * 8} of ${keyBits}`,
    )
  const e = Buffer.alloc(4)
  // 0 says the default, 2^16 + 1: part 2, section 12.2.3.5.
  e.writeUInt32BE(exponent === 0 ? 0x10001 : exponent)
  const jwk = { kty: 'RSA', n: Buffer.from(modulus).toString('base64url'), e: e.toString('base64url') }
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch (cause) {
    throw malformed('RSA public key', cause)
  }
}

function importKey(spki: Buffer): KeyObject {
  try {
    return readPublicKey(spki)
  } catch (cause) {
    throw malformed('point on the curve', cause)
  }
}

/** TPMs may leave leading zeros away. */
function padded(bytes: Uint8Array, length: number): Buffer {
  return Buffer.concat([Buffer.alloc(length - bytes.length), bytes])
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex')
}
