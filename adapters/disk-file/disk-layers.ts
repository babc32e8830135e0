import { realpath } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { DiskFileError } from './errors.ts'
import { qemuImg } from './run-qemu-img.ts'

/**
 * A disk as QEMU is told to open it. Names are absolute and given as names of files, so that none is taken for an
 * address or for options; formats are given, so that none is guessed.
 *
 * Source: QEMU's manual of blockdev options (qapi/block-core.json), BlockdevOptionsQcow2 and BlockdevOptionsVMDK
 */
export interface DiskLayer {
  readonly driver: LayerFormat
  readonly file: { readonly filename: string }
  readonly 'data-file'?: { readonly filename: string }
  /** What lies under it; null for nothing, whatever the file says. A raw file has none. */
  readonly backing?: DiskLayer | null
}

const formats = ['raw', 'qcow2', 'vmdk'] as const
type LayerFormat = (typeof formats)[number]

/** Chains are short: each layer makes reading slower. */
const maximumLayers = 64

/**
 * Reads what a disk consists of, one layer after the other: `qemu-img info` opens no backing file. Whatever a layer
 * names must lie in the folder of the disk.
 *
 * @param path of the disk, without symbolic links
 * @throws {DiskFileError} DISK_FILE_TOOL_MISSING, DISK_FILE_NOT_CONVERTED
 */
export async function readLayers(
  path: string,
  format: LayerFormat,
  signal?: AbortSignal,
  above: readonly string[] = [],
): Promise<DiskLayer> {
  const file = { filename: path }
  if (above.includes(path)) throw refused(path, 'it lies under itself')
  if (above.length >= maximumLayers) throw refused(path, `more than ${maximumLayers} disks lie over it`)
  if (format === 'raw') return { driver: format, file }
  const info = JSON.parse(await qemuImg(['info', '--output=json', '-f', format, path], path, signal)) as Info
  const data = info['format-specific']?.data
  for (const { filename } of data?.extents ?? []) await besides(path, filename)
  const dataFile = data?.['data-file']
  const backing = info['backing-filename']
  return {
    driver: format,
    file,
    ...(dataFile !== undefined && { 'data-file': { filename: await besides(path, dataFile) } }),
    backing:
      backing === undefined
        ? null
        : await readLayers(await besides(path, backing), formatOf(info, path), signal, [...above, path]),
  }
}

interface Info {
  readonly 'backing-filename'?: string
  readonly 'backing-filename-format'?: string
  readonly 'format-specific'?: {
    readonly data?: {
      readonly 'data-file'?: string
      readonly extents?: readonly { readonly filename: string }[]
    }
  }
}

/** @returns the file of the disk's folder that a name means, without symbolic links */
async function besides(path: string, name: string): Promise<string> {
  const folder = dirname(path)
  // QEMU takes what stands before a colon for a protocol, unless a slash stands before that.
  const isPlain = name.startsWith('/') || !name.includes(':')
  const file = isPlain ? await realpath(resolve(folder, name)).catch(() => undefined) : undefined
  if (file !== undefined && dirname(file) === folder) return file
  throw refused(path, `it names ${name}, which is not a file beside it`)
}

function formatOf({ 'backing-filename-format': name }: Info, path: string): LayerFormat {
  const format = formats.find((known) => known === name)
  if (format !== undefined) return format
  throw refused(
    path,
    `the disk under it is ${name ?? 'of no named format'}, and expected was one of ${formats.join(', ')}`,
  )
}

function refused(path: string, why: string): DiskFileError {
  return new DiskFileError('DISK_FILE_NOT_CONVERTED', `${path} cannot be read as a disk: ${why}`, {
    remedy: 'Make one file of it first: qemu-img convert.',
  })
}
