import { parseContentRange } from './content-range.ts'
import type { HttpAnswer, HttpRange } from './http-message.ts'

/** The head of an answer that is read here: it says how long its body is, and its connection stays open. */
export interface AnswerHead extends Omit<HttpAnswer, 'body'> {
  /** Of the body, bytes. */
  readonly length: number
}

/** Fields that change how the rest of the answer is read. RFC 9112 6, RFC 9110 8.4. */
const strange = new Set(['transfer-encoding', 'content-encoding', 'trailer', 'upgrade'])
const single = new Set(['content-length', 'content-range', 'connection', 'location'])

/**
 * Strict, as RFC 9112 lets it be: whatever else was sent is not understood here, but not refused either.
 *
 * @param head untrusted, without the empty line
 * @returns undefined for any head but a plain one of HTTP/1.1
 */
export function parseHead(head: string): AnswerHead | undefined {
  const [first = '', ...lines] = head.split('\r\n')
  const [, status] = /^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/.exec(first) ?? []
  // These two have no body, whatever their length says. RFC 9112 6.3.
  if (status === undefined || status === '204' || status === '304') return undefined
  const fields = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) return undefined
    const key = name.toLowerCase()
    const before = fields.get(key)
    if (strange.has(key) || (before !== undefined && single.has(key))) return undefined
    const trimmed = trimBlanks(value)
    fields.set(key, before === undefined ? trimmed : `${before}, ${trimmed}`)
  }
  const length = fields.get('content-length') ?? ''
  const isKept = (fields.get('connection') ?? 'keep-alive').toLowerCase() === 'keep-alive'
  if (!/^(?:0|[1-9]\d{0,14})$/.test(length) || !isKept) return undefined
  return { status: Number(status), headers: Object.fromEntries(fields), length: Number(length) }
}

/** Whether an answer promises exactly the bytes that were asked for. RFC 9110 14.4, 15.3.7. */
export function fitsRange({ status, headers, length }: AnswerHead, range: HttpRange): boolean {
  const got = parseContentRange(headers['content-range'] ?? '')
  return (
    status === 206 &&
    got?.first === range.offset &&
    got.last === range.offset + range.length - 1 &&
    length === range.length
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
