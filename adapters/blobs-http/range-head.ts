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
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) return false
    const key = name.toLowerCase()
    const isSingle = key === 'content-length' || key === 'content-range' || key === 'connection'
    if (strange.has(key) || (isSingle && fields.has(key))) return false
    fields.set(key, trimBlanks(value))
  }
  const range = parseContentRange(fields.get('content-range') ?? '')
  return (
    range?.first === offset &&
    range.last === offset + length - 1 &&
    fields.get('content-length') === String(length) &&
    (fields.get('connection') ?? 'keep-alive').toLowerCase() === 'keep-alive'
  )
}

/** RFC 9110 5.5. Not by a pattern: what it tries at each of many blanks takes quadratic time. */
function trimBlanks(value: string): string {
  let [start, end] = [0, value.length]
  while (start < end && isBlank(value[start])) start++
  while (end > start && isBlank(value[end - 1])) end--
  return value.slice(start, end)
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
