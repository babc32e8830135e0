import { createPublicKey, type KeyObject } from 'node:crypto'

/**
 * ECDSA signatures and public keys in the form that costs Node least.
 *
 * Whether it was given a key object Node 24 finds out by trying, and makes an exception with its stack when it was not: twice for each
 * `{ key, … }`, some 100 µs, which is as much as the verification itself. Key objects, and texts in PEM, are told without.
 */

/**
 * Reads a public key.
 *
 * @param spki SubjectPublicKeyInfo, DER, untrusted
 * @throws whatever node:crypto throws on what is none
 */
export function readPublicKey(spki: Uint8Array): KeyObject {
  const base64 = Buffer.from(spki).toString('base64')
  return createPublicKey(`-----BEGIN PUBLIC KEY-----\n${base64}\n-----END PUBLIC KEY-----\n`)
}

/**
 * ECDSA-Sig-Value in DER (RFC 3279, section 2.2.3), which `verify` takes with a key alone.
 *
 * @param r big-endian, untrusted, at most 66 bytes (P-521); leading zeros may be there or not
 * @param s as `r`
 */
export function encodeEcdsaSignature(r: Uint8Array, s: Uint8Array): Buffer {
  const content = Buffer.concat([encodeInteger(r), encodeInteger(s)])
  const length = content.length < 0x80 ? [content.length] : [0x81, content.length]
  return Buffer.concat([Uint8Array.of(0x30, ...length), content])
}

/** Positive: a zero goes before a first byte that would say otherwise. */
function encodeInteger(bytes: Uint8Array): Buffer {
  if (bytes.length > 66) throw new RangeError(`expected an integer of at most 66 bytes, got ${bytes.length}`)
  const first = bytes.findIndex((byte) => byte !== 0)
  const digits = first === -1 ? Uint8Array.of(0) : bytes.subarray(first)
  const zero = (digits[0] ?? 0) >= 0x80 ? [0] : []
  return Buffer.concat([Uint8Array.of(2, zero.length + digits.length, ...zero), digits])
}
