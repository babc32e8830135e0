import { type BlobDigest, BlobError } from '#core/blobs/index.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { statusError } from './transport-error.ts'

export interface BlobRange {
  readonly digest: BlobDigest
  readonly offset: number
  readonly length: number
  readonly signal: AbortSignal | undefined
}

/** Reads a part of a blob, exactly. @throws {BlobError} as `BlobReader.read` */
export async function readRange(
  exchange: (request: HttpRequest) => Promise<HttpAnswer>,
  path: string,
  { digest, offset, length, signal }: BlobRange,
): Promise<Uint8Array> {
  const isRange = Number.isSafeInteger(offset + length) && offset >= 0 && length >= 0
  if (!isRange) {
    throw new BlobError(
      'BLOB_WRONG_ANSWER',
      `expected a range of ${digest}, got ${length} bytes at ${offset}`,
    )
  }
  // HTTP cannot ask for nothing.
  if (length === 0) return new Uint8Array(0)
  const range = { offset, length }
  const answer = await exchange({ method: 'GET', path, range, maximumBytes: length, signal })
  if (answer.status === 206) return answer.body
  throw statusError(answer, digest)
}
