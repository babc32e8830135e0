import { execFile } from 'node:child_process'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Extent } from '#core/block/block-device.ts'
import { DiskFileError } from './errors.ts'

const run = promisify(execFile)
/** What `qemu-img map` may print: some 500,000 extents. */
const maximumOutputBytes = 67_108_864

/** Where a raw file has data, as the file system tells; undefined when nobody can say. */
export async function mapRawFile(path: string, signal?: AbortSignal): Promise<readonly Extent[] | undefined> {
  try {
    const { stdout } = await run('qemu-img', ['map', '--output=json', '-f', 'raw', path], {
      maxBuffer: maximumOutputBytes,
      signal,
    })
    const extents = JSON.parse(stdout) as readonly { readonly length: number; readonly zero: boolean }[]
    return extents.map(({ length, zero }) => ({ length, kind: zero ? 'hole' : 'data' }))
  } catch {
    signal?.throwIfAborted()
    return undefined
  }
}

/**
 * Makes a raw file, sparse, of a disk in a format that QEMU reads.
 *
 * A qcow2 or VMDK file can name other files that it consists of, and so any file of this machine: those of its own
 * folder are read, others are refused.
 *
 * @throws {DiskFileError} DISK_FILE_TOOL_MISSING, DISK_FILE_NOT_CONVERTED
 */
export async function convertToRaw(
  path: string,
  format: 'qcow2' | 'vmdk',
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const info = JSON.parse(await qemuImg(['info', '--output=json', '-f', format, path], path, signal)) as Info
  const folder = dirname(resolve(path))
  for (const name of namedFiles(info)) {
    if (dirname(resolve(folder, name)) !== folder) {
      throw new DiskFileError('DISK_FILE_NOT_CONVERTED', `${path} names ${name}, which is not beside it`, {
        remedy: 'Make one file of it first: qemu-img convert.',
      })
    }
  }
  await qemuImg(['convert', '-f', format, '-O', 'raw', path, target], path, signal)
}

interface Info {
  readonly filename: string
  readonly 'backing-filename'?: string
  readonly 'format-specific'?: {
    readonly data?: {
      readonly 'data-file'?: string
      readonly extents?: readonly { readonly filename: string }[]
    }
  }
}

function namedFiles(info: Info): readonly string[] {
  const data = info['format-specific']?.data
  const names = [
    info['backing-filename'],
    data?.['data-file'],
    ...(data?.extents ?? []).map(({ filename }) => filename),
  ]
  return names.filter((name) => name !== undefined)
}

async function qemuImg(args: readonly string[], path: string, signal?: AbortSignal): Promise<string> {
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
    const words = (cause as { stderr?: string }).stderr?.trim() ?? 'unknown'
    throw new DiskFileError('DISK_FILE_NOT_CONVERTED', `qemu-img cannot read ${path}: ${words}`, {
      cause,
      remedy: 'Check the file with qemu-img check.',
    })
  }
}
