import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { DiskFileError } from './errors.ts'

const run = promisify(execFile)

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

/** A part of a disk, in order. */
interface Mapped {
  readonly length: number
  readonly zero: boolean
  /** Where it is in the file; absent for what is compressed or is in none. */
  readonly offset?: number
}

/** What `qemu-img map` may print: some 500,000 parts. */
const maximumOutputBytes = 67_108_864

/** @returns undefined when nobody can say */
export async function qemuMap(
  disk: readonly string[],
  signal?: AbortSignal,
): Promise<readonly Mapped[] | undefined> {
  try {
    const maxBuffer = maximumOutputBytes
    const { stdout } = await run('qemu-img', ['map', '--output=json', ...disk], { maxBuffer, signal })
    return JSON.parse(stdout) as readonly Mapped[]
  } catch {
    signal?.throwIfAborted()
    return undefined
  }
}
