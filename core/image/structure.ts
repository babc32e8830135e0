import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from './errors.ts'

/**
 * Reads a structure that a file must have.
 *
 * @param what names it in the error
 * @throws {ImageError} IMAGE_TRUNCATED if the file ends before it
 */
export async function readStructure(
  source: ByteSource,
  what: string,
  at: bigint,
  length: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  requireInside(source, what, at, BigInt(length))
  return source.read(at, length, signal)
}

/** @throws {ImageError} IMAGE_TRUNCATED */
export function requireInside(source: ByteSource, what: string, at: bigint, length: bigint): void {
  if (at < 0n || at + length > source.sizeBytes) {
    throw new ImageError(
      'IMAGE_TRUNCATED',
      `expected the ${what} in ${length} bytes at ${at}, but the file has ${source.sizeBytes}`,
    )
  }
}
