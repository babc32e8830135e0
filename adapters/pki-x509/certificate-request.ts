import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { splitDer } from './der.ts'
import { exportPublic } from './keys.ts'
import { decodePem } from './pem.ts'
import { PkiError } from './pki-error.ts'

/**
 * Checks a certificate request and returns the key that its sender holds. Nothing else of it counts: subject and
 * attributes are claims of a stranger and not even parsed.
 *
 * Written by hand because the library verifies what it serialises again, not the bytes that came.
 *
 * Source: RFC 2986, section 4: SEQUENCE { SEQUENCE { version, subject, spki, [0] attributes }, algorithm, BIT STRING }
 *
 * @param pem untrusted
 * @returns SubjectPublicKeyInfo, DER, on P-256
 * @throws {PkiError} PKI_BAD_REQUEST
 */
export function verifyRequest(pem: string, maxBytes = 4096): Uint8Array<ArrayBuffer> {
  const der = decodePem(pem, 'CERTIFICATE REQUEST', maxBytes)
  if (der === undefined) throw refuse('expected one PEM block "CERTIFICATE REQUEST"')
  const [info, algorithm, signature] = inside(der, [sequence, sequence, bitString])
  const [version, , spki] = inside(info, [integer, sequence, sequence, attributes])
  if (!equal(version, version1)) throw refuse('expected version 1')
  if (!equal(algorithm, ecdsaWithSha256)) throw refuse('expected a signature by ECDSA with SHA-256')
  const key = readKey(spki)
  // The first byte of a BIT STRING's content counts its unused bits: none, here.
  const bits = splitDer(signature, 1)?.[0]?.content
  if (bits?.[0] !== 0 || !verify('sha256', info, key, bits.subarray(1)))
    throw refuse('its signature does not fit its key')
  return exportPublic(key)
}

type Bytes = Uint8Array<ArrayBuffer>

const [integer, bitString, sequence, attributes] = [0x02, 0x03, 0x30, 0xa0] as const
const version1 = '020100'
/** SEQUENCE { 1.2.840.10045.4.3.2 }: RFC 5758, section 3.2. */
const ecdsaWithSha256 = '300a06082a8648ce3d040302'

/** The elements of one SEQUENCE that has exactly these tags. */
function inside<const Tags extends readonly number[]>(
  der: Bytes,
  tags: Tags,
): { readonly [Index in keyof Tags]: Bytes } {
  const [outer, ...rest] = splitDer(der, 2) ?? []
  const elements =
    outer?.tag === sequence && rest.length === 0 ? splitDer(outer.content, tags.length) : undefined
  if (elements?.length !== tags.length || elements.some(({ tag }, index) => tag !== tags[index]))
    throw refuse('it is not built as RFC 2986 says')
  return elements.map(({ whole }) => whole) as { [Index in keyof Tags]: Bytes }
}

function readKey(spki: Bytes): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
  } catch (cause) {
    throw refuse('its key cannot be read', cause)
  }
  throw refuse('expected a key on P-256')
}

function equal(bytes: Bytes, hex: string): boolean {
  return Buffer.from(bytes).toString('hex') === hex
}

function refuse(why: string, cause?: unknown): PkiError {
  return new PkiError('PKI_BAD_REQUEST', `the certificate request is refused: ${why}`, { cause })
}
