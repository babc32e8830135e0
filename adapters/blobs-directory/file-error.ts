import { BlobError, type BlobErrorCode } from '#core/blobs/index.ts'

const codes: Readonly<Record<string, BlobErrorCode>> = {
  ENOSPC: 'BLOB_NO_SPACE',
  EDQUOT: 'BLOB_NO_SPACE',
  EFBIG: 'BLOB_NO_SPACE',
  EACCES: 'BLOB_DENIED',
  EPERM: 'BLOB_DENIED',
  EROFS: 'BLOB_DENIED',
  ENOENT: 'BLOB_BAD_STORE',
  ENOTDIR: 'BLOB_BAD_STORE',
  EISDIR: 'BLOB_BAD_STORE',
  ELOOP: 'BLOB_BAD_STORE',
}

const remedies: Partial<Record<BlobErrorCode, string>> = {
  BLOB_NO_SPACE: 'Free space on the disk of this store, or collect what no image needs: trustcast image gc.',
  BLOB_DENIED: 'Let this account write to the folder, or use another store.',
}

/** What the operating system said, as one of a store's errors. What is coded already stays as it is. */
export function fileError(error: unknown, what: string): BlobError {
  if (error instanceof BlobError) return error
  const errno = errnoOf(error) ?? ''
  const code = Object.hasOwn(codes, errno) ? (codes[errno] ?? 'BLOB_UNAVAILABLE') : 'BLOB_UNAVAILABLE'
  const remedy = remedies[code]
  const message = error instanceof Error ? error.message : String(error)
  return new BlobError(code, `${what}: ${message}`, { cause: error, ...(remedy !== undefined && { remedy }) })
}

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** The answer, or undefined where a file is not there (or another of `errnos` came). */
export async function unless<T>(errnos: readonly string[], attempt: Promise<T>): Promise<T | undefined> {
  try {
    return await attempt
  } catch (error) {
    if (errnos.includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}
