import { BytesError, Reader } from '#core/bytes/index.ts'
import { malformed } from './tpm-error.ts'

/**
 * A sized buffer: length u16, then so many bytes; all numbers of a TPM are big-endian.
 *
 * Spec: TPM 2.0 Library part 2, section 10.4
 *
 * @throws {BytesError} BYTES_SHORT, BYTES_TOO_LONG
 */
export function readTpm2b(reader: Reader, maxBytes: number): Uint8Array {
  const length = reader.u16()
  if (length > maxBytes)
    throw new BytesError('BYTES_TOO_LONG', `expected a buffer of at most ${maxBytes} bytes, got ${length}`)
  return reader.bytes(length)
}

/** Length, then the bytes. @param bytes at most 65,535 */
export function tpm2b(...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const size = Buffer.alloc(2)
  size.writeUInt16BE(content.length)
  return Buffer.concat([size, content])
}

/**
 * Decodes a whole structure and nothing behind it.
 *
 * @param what the structure, by the name the specification gives it
 * @throws {TpmError} TPM_MALFORMED for what is too short or too long, and whatever `read` throws
 */
export function decodeWhole<T>(
  bytes: Uint8Array,
  maxBytes: number,
  what: string,
  read: (reader: Reader) => T,
): T {
  try {
    if (bytes.length > maxBytes)
      throw new BytesError('BYTES_TOO_LONG', `at most ${maxBytes} bytes, got ${bytes.length}`)
    const reader = new Reader(bytes)
    const value = read(reader)
    reader.end()
    return value
  } catch (error) {
    if (error instanceof BytesError) throw malformed(what, error)
    throw error
  }
}
