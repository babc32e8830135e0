import { decodeUtf8 } from '#core/bytes/index.ts'
import { JsonError } from './json-error.ts'
import type { Shape } from './shape.ts'

/**
 * @param bytes untrusted
 * @throws {JsonError} JSON_TOO_LONG, JSON_MALFORMED, JSON_UNEXPECTED
 */
export function decodeJson<T>(bytes: Uint8Array, maximumBytes: number, shape: Shape<T>): T {
  if (bytes.length > maximumBytes) {
    throw new JsonError('JSON_TOO_LONG', `expected at most ${maximumBytes} bytes, got ${bytes.length}`)
  }
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw new JsonError('JSON_MALFORMED', 'expected JSON', [], cause)
  }
  return shape(value)
}
