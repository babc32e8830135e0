import { decodeUtf8 } from '#core/bytes/index.ts'
import { BlobError } from './errors.ts'

/** A JSON object of a store, of which nothing is believed yet. */
export type JsonObject = Readonly<Record<string, unknown>>

/** @throws {BlobError} BLOB_WRONG_ANSWER when it is too long, or no JSON object */
export function parseJsonObject(bytes: Uint8Array, maximumBytes: number, what: string): JsonObject {
  if (bytes.length > maximumBytes) {
    throw wrong(`${what}: expected at most ${maximumBytes} bytes, got ${bytes.length}`)
  }
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw wrong(`${what}: expected JSON`, cause)
  }
  return asObject(value, what)
}

/** @throws {BlobError} BLOB_WRONG_ANSWER */
export function asObject(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value
  throw wrong(`${what}: expected an object, got ${shown(value)}`)
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @returns undefined where there is no such key of the object's own */
export function field(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** @throws {BlobError} BLOB_WRONG_ANSWER unless it is one to 255 characters */
export function stringField(object: JsonObject, key: string, what: string): string {
  const value = field(object, key)
  if (typeof value === 'string' && value.length >= 1 && value.length <= 255) return value
  throw wrong(`${what}: expected 1 to 255 characters as ${key}, got ${shown(value)}`)
}

/** @throws {BlobError} BLOB_WRONG_ANSWER unless it is a whole number from 0 to 2^53 - 1 */
export function sizeField(object: JsonObject, key: string, what: string): number {
  const value = field(object, key)
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw wrong(`${what}: expected a number of bytes as ${key}, got ${shown(value)}`)
}

/** @throws {BlobError} BLOB_WRONG_ANSWER unless it is an array of at most `maximum` */
export function arrayField(
  object: JsonObject,
  key: string,
  maximum: number,
  what: string,
): readonly unknown[] {
  const value = field(object, key)
  if (!Array.isArray(value)) throw wrong(`${what}: expected an array as ${key}, got ${shown(value)}`)
  if (value.length > maximum) {
    throw wrong(`${what}: expected at most ${maximum} ${key}, got ${value.length}`)
  }
  return value
}

/** Absent is the same as empty. @throws {BlobError} BLOB_WRONG_ANSWER unless all values are strings */
export function annotationsField(object: JsonObject, what: string): Readonly<Record<string, string>> {
  const entries = Object.entries(asObject(field(object, 'annotations') ?? {}, `${what}: annotations`))
  // fromEntries defines properties: a key such as __proto__ stays a key.
  return Object.fromEntries(
    entries.map(([key, value]) => {
      if (typeof value !== 'string') throw wrong(`${what}: expected text as annotation ${shown(key)}`)
      return [key, value]
    }),
  )
}

export function wrong(message: string, cause?: unknown): BlobError {
  return new BlobError('BLOB_WRONG_ANSWER', message, { cause })
}

export function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100)
}
