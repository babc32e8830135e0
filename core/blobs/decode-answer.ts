import { decodeJson, JsonError, type Shape } from '#core/json/index.ts'
import { BlobError } from './errors.ts'

/**
 * @param bytes what a store answered, of which nothing is believed
 * @param what it should be, for people
 * @throws {BlobError} BLOB_WRONG_ANSWER
 */
export function decodeAnswer<T>(bytes: Uint8Array, maximumBytes: number, shape: Shape<T>, what: string): T {
  try {
    return decodeJson(bytes, maximumBytes, shape)
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw new BlobError('BLOB_WRONG_ANSWER', `${what}: ${cause.message}`, { cause })
  }
}
