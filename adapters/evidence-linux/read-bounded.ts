import { open, readdir, stat } from 'node:fs/promises'

const maxFileBytes = 4 * 1024 * 1024

/**
 * Reads a file of the kernel or of configuration.
 *
 * @param fromEnd of a longer file the last bytes are read instead of the first
 * @returns undefined when there is no such file; what is longer is cut off
 * @throws {NodeJS.ErrnoException} when it may not be read
 */
export async function readBytes(
  path: string,
  { maxBytes = maxFileBytes, fromEnd = false }: { maxBytes?: number; fromEnd?: boolean } = {},
): Promise<Buffer | undefined> {
  try {
    await using file = await open(path)
    // Files of /proc have no size: they are read until they end.
    const start = fromEnd ? Math.max(0, (await file.stat()).size - maxBytes) : 0
    const parts: Buffer[] = []
    let length = 0
    while (length < maxBytes) {
      const { buffer, bytesRead } = await file.read(
        Buffer.alloc(Math.min(65_536, maxBytes - length)),
        0,
        undefined,
        // A position where one was asked for, otherwise as it goes: not every file can be read at any place.
        fromEnd ? start + length : null,
      )
      if (bytesRead === 0) break
      parts.push(buffer.subarray(0, bytesRead))
      length += bytesRead
    }
    return Buffer.concat(parts)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

/** Like `readBytes`, as text. */
export async function readText(
  path: string,
  options?: { maxBytes?: number; fromEnd?: boolean },
): Promise<string | undefined> {
  return (await readBytes(path, options))?.toString()
}

/** @returns names in a folder; none when there is no such folder */
export async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}

/** @returns when it was last written, Unix ms; undefined when there is no such file */
export async function writtenAt(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

/** A process that ended while it was read is absent, too. */
function isAbsent(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ESRCH')
  )
}
