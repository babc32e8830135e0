import { parseContentRange } from './content-range.ts'

/** Fields that change how the rest of the answer is read. RFC 9112 6, RFC 9110 8.4. */
const strange = new Set(['transfer-encoding', 'content-encoding', 'trailer', 'upgrade'])

/**
 * Whether the head of an answer promises exactly the bytes that were asked for, on a connection that stays open.
 *
 * Strict, as RFC 9112 lets it be: whatever else was sent is not understood here, but not refused either.
 *
 * @param head untrusted, without the empty line
 */
export function fitsRange(head: string, offset: number, length: number): boolean {
  const [status = '', ...lines] = head.split('\r\n')
  if (!/^HTTP\/1\.1 206(?: |$)/.test(status)) return false
  const fields = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) return false
    const key = name.toLowerCase()
    const isSingle = key === 'content-length' || key === 'content-range' || key === 'connection'
    if (strange.has(key) || (isSingle && fields.has(key))) return false
    fields.set(key, value)
  }
  const range = parseContentRange(fields.get('content-range') ?? '')
  return (
    range?.first === offset &&
    range.last === offset + length - 1 &&
    fields.get('content-length') === String(length) &&
    (fields.get('connection') ?? 'keep-alive').toLowerCase() === 'keep-alive'
  )
}
