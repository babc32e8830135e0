import { BytesError } from './errors.ts'

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const hexDigits = /^(?:[0-9a-f]{2})*$/iu
const base64urlDigits = /^[A-Za-z0-9_-]*$/u

export function encodeUtf8(text: string): Uint8Array {
  return utf8.encode(text)
}

/** @throws {BytesError} BYTES_ENCODING */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes)
  } catch (cause) {
    throw new BytesError('BYTES_ENCODING', `expected UTF-8 in ${bytes.length} bytes`, { cause })
  }
}

/** Lower-case hexadecimal digits, two for each byte. */
export function encodeHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** @throws {BytesError} BYTES_ENCODING */
export function decodeHex(text: string): Uint8Array {
  if (!hexDigits.test(text)) throw new BytesError('BYTES_ENCODING', 'expected pairs of hexadecimal digits')
  return Uint8Array.from({ length: text.length / 2 }, (_, index) =>
    Number.parseInt(text.slice(2 * index, 2 * index + 2), 16),
  )
}

/** Source: RFC 4648 section 5, without padding. */
export function encodeBase64url(bytes: Uint8Array): string {
  const binary = Array.from(bytes, (byte) => String.fromCodePoint(byte)).join('')
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/**
 * Takes exactly what `encodeBase64url` makes: no padding, no white space, no other spelling of the same bytes.
 *
 * @throws {BytesError} BYTES_ENCODING
 */
export function decodeBase64url(text: string): Uint8Array {
  if (!base64urlDigits.test(text) || text.length % 4 === 1) {
    throw new BytesError('BYTES_ENCODING', 'expected base64url without padding')
  }
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = Uint8Array.from(binary, (character) => character.codePointAt(0) ?? 0)
  if (encodeBase64url(bytes) !== text) {
    throw new BytesError('BYTES_ENCODING', 'expected base64url whose unused bits are zero')
  }
  return bytes
}
