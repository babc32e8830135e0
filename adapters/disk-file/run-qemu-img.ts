import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { DiskFileError } from './errors.ts'

export const run = promisify(execFile)

/**
 * @param path the disk that it is about, for people
 * @returns what it printed
 * @throws {DiskFileError} DISK_FILE_TOOL_MISSING, DISK_FILE_NOT_CONVERTED
 */
export async function qemuImg(args: readonly string[], path: string, signal?: AbortSignal): Promise<string> {
  try {
    return (await run('qemu-img', args, { signal })).stdout
  } catch (cause) {
    signal?.throwIfAborted()
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new DiskFileError(
        'DISK_FILE_TOOL_MISSING',
        `${path} is read through qemu-img, which is not installed`,
        {
          cause,
          remedy: 'Install Debian’s qemu-utils.',
        },
      )
    }
    // It may have thousands of faults to tell.
    const words = (cause as { stderr?: string }).stderr?.trim().slice(0, 500) ?? 'unknown'
    throw new DiskFileError('DISK_FILE_NOT_CONVERTED', `qemu-img cannot read ${path}: ${words}`, {
      cause,
      remedy: 'Check the file with qemu-img check.',
    })
  }
}
