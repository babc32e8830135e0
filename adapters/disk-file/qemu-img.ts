import { realpath, statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Extent } from '#core/block/block-device.ts'
import { readLayers } from './disk-layers.ts'
import { DiskFileError } from './errors.ts'
import { qemuImg, qemuMap } from './run-qemu-img.ts'

/** Where a raw file has data, as the file system tells; undefined when nobody can say. */
export async function mapRawFile(path: string, signal?: AbortSignal): Promise<readonly Extent[] | undefined> {
  const parts = await qemuMap(['-f', 'raw', resolve(path)], signal)
  return parts?.map(({ length, zero }) => ({ length, kind: zero ? 'hole' : 'data' }))
}

/**
 * Makes a raw file, sparse, of a disk in a format that QEMU reads.
 *
 * A qcow2 or VMDK file can name other files that it consists of, and so any file of this machine and any server: files
 * of its own folder are read, all else is refused. QEMU is told what to open, layer by layer, and follows no name itself
 * but those of the extents of a VMDK, which were looked at.
 *
 * @throws {DiskFileError} DISK_FILE_NO_ROOM, and what `readLayers` throws
 */
export async function convertToRaw(
  path: string,
  format: 'qcow2' | 'vmdk',
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const disk = `json:${JSON.stringify(await readLayers(await realpath(path), format, signal))}`
  await requireRoom(disk, path, dirname(target), signal)
  await qemuImg(['convert', '-O', 'raw', disk, resolve(target)], path, signal)
}

/** A small file can name the same bytes over and over, or bytes that unpack to more than there is room for. */
async function requireRoom(disk: string, path: string, folder: string, signal?: AbortSignal): Promise<void> {
  // As qcow2, since a raw file is measured with its holes.
  const measured = await qemuImg(['measure', '--output=json', '-O', 'qcow2', disk], path, signal)
  const { required } = JSON.parse(measured) as { readonly required: number }
  const { bavail, bsize } = await statfs(folder)
  if (required <= bavail * bsize) return
  throw new DiskFileError(
    'DISK_FILE_NO_ROOM',
    `${path} unpacks to ${required} bytes, and ${folder} has room for ${bavail * bsize}`,
    { remedy: 'Name a folder with more room in $TMPDIR.' },
  )
}
