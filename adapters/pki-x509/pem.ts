/**
 * Decodes a text that is exactly one PEM block.
 *
 * Source: RFC 7468, section 3 (strict)
 *
 * @param text untrusted
 * @returns the DER bytes, or undefined for anything else
 */
export function decodePem(
  text: string,
  label: string,
  maxBytes: number,
): Uint8Array<ArrayBuffer> | undefined {
  if (text.length > maxBytes) return undefined
  const begin = `-----BEGIN ${label}-----`
  const end = `-----END ${label}-----`
  const trimmed = text.trim()
  if (!trimmed.startsWith(begin) || !trimmed.endsWith(end) || trimmed.length < begin.length + end.length)
    return undefined
  const body = trimmed.slice(begin.length, -end.length).replace(/\r?\n/g, '')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body) || body.length % 4 !== 0) return undefined
  return new Uint8Array(Buffer.from(body, 'base64'))
}
