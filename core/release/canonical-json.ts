import { decodeUtf8 } from '#core/bytes/index.ts'
import { ReleaseError } from './errors.ts'

/** JSON whose numbers are all safe integers. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [name: string]: Json | undefined }

/**
 * The bytes that TUF signs: names sorted, no white space, and in strings only `\` and `"` escaped.
 *
 * Source: TUF 1.0, section 4.2 (OLPC's canonical JSON). A line break in a PEM key stays a line break, so that this is
 * not always JSON that can be parsed: see `encodeJsonFile`.
 */
export function canonicalJson(value: Json): Uint8Array {
  return Buffer.from(write(value, 0, (text) => `"${text.replace(/["\\]/g, '\\$&')}"`))
}

/** The bytes of a file: the same as canonical JSON, but with control characters escaped, so that it can be parsed. */
export function encodeJsonFile(value: Json): Uint8Array {
  return Buffer.from(write(value, 0, (text) => JSON.stringify(text)))
}

/**
 * Parses what `encodeJsonFile` writes, and nothing else: one value has one form, so that no byte of a signed file can
 * change unseen.
 *
 * @param bytes untrusted
 * @throws {ReleaseError} RELEASE_MALFORMED
 */
export function decodeJsonFile(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length > maxBytes) throw malformed(`expected at most ${maxBytes} bytes, got ${bytes.length}`)
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw malformed('expected JSON in UTF-8', cause)
  }
  if (Buffer.compare(encodeJsonFile(value as Json), bytes) !== 0) {
    throw malformed('expected the canonical form: sorted names, no white space, whole numbers')
  }
  return value
}

/** Root metadata is 5 deep; this is more than anything here needs, and less than the stack. */
const maxDepth = 16

function write(value: unknown, depth: number, quote: (text: string) => string): string {
  if (depth > maxDepth) throw malformed(`expected at most ${maxDepth} levels`)
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') return writeNumber(value)
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw malformed('expected strings without lone surrogates')
    return quote(value)
  }
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1, quote)).join(',')}]`
  if (typeof value !== 'object') throw malformed(`expected JSON, got ${typeof value}`)
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${quote(name)}:${write(member, depth + 1, quote)}`)
  return `{${members.join(',')}}`
}

function writeNumber(value: number): string {
  if (!Number.isSafeInteger(value) || Object.is(value, -0))
    throw malformed(`expected whole numbers, got ${value}`)
  return String(value)
}

function malformed(problem: string, cause?: unknown): ReleaseError {
  return new ReleaseError('RELEASE_MALFORMED', `release document: ${problem}`, { cause })
}
