import { basename } from 'node:path'
import { MountError } from './mount-error.ts'
import { attempt } from './tools.ts'

interface Request {
  readonly device: string
  readonly dir: string
  readonly readOnly: boolean
  readonly filesystem?: string
  readonly signal?: AbortSignal
}

/**
 * What keeps a file system from writing when it is mounted read-only after it was not unmounted: it would replay its
 * journal otherwise, which a read-only device refuses.
 */
const withoutReplay: Readonly<Record<string, string>> = {
  ext3: 'noload',
  ext4: 'noload',
  xfs: 'norecovery',
  btrfs: 'rescue=nologreplay',
}

/** Two disks of one image have the same UUID, which XFS would refuse. */
const always: Readonly<Record<string, string>> = { xfs: 'nouuid' }

/**
 * Mounts a device.
 *
 * @returns the name of the file system
 * @throws {MountError} MOUNT_NO_FILESYSTEM, MOUNT_FILESYSTEM_UNSUPPORTED, MOUNT_FAILED
 */
export async function mountFilesystem(request: Request): Promise<string> {
  const { device, dir, readOnly, signal } = request
  const filesystem = request.filesystem ?? (await detect(device, signal))
  const options = [
    'nosuid',
    'nodev',
    readOnly ? 'ro' : 'rw',
    always[filesystem],
    readOnly ? withoutReplay[filesystem] : undefined,
  ].filter((option) => option !== undefined)
  const words = ['-t', filesystem, '-o', options.join(','), device, dir]
  const { status, words: said } = await attempt('mount', words, signal)
  if (status === 0) return filesystem
  if (said.includes('unknown filesystem type')) {
    throw new MountError('MOUNT_FILESYSTEM_UNSUPPORTED', `the kernel of this machine has no ${filesystem}`, {
      remedy: `Load or install the kernel module ${filesystem}, or attach the disk without mounting it.`,
    })
  }
  const kernel = await kernelWords(device)
  throw new MountError('MOUNT_FAILED', [`${filesystem} was not mounted: ${said}`, ...kernel].join('; '))
}

/** @throws {MountError} MOUNT_NO_FILESYSTEM, MOUNT_FAILED */
async function detect(device: string, signal?: AbortSignal): Promise<string> {
  const { output } = await attempt('blkid', ['--probe', '--output', 'export', device], signal)
  const found = new Map(output.split('\n').map((line) => line.split('=', 2) as [string, string]))
  const [type, table] = [found.get('TYPE'), found.get('PTTYPE')]
  if (type !== undefined && found.get('USAGE') === 'filesystem') return type
  // Of a disk that cannot be read blkid says the same as of an empty one.
  const { status, words } = await attempt(
    'dd',
    [`if=${device}`, 'of=/dev/null', 'bs=4096', 'count=17'],
    signal,
  )
  if (status !== 0) throw new MountError('MOUNT_FAILED', `the disk cannot be read: ${words}`)
  const what = type ?? (table === undefined ? 'nothing that is known' : `a ${table} partition table`)
  throw new MountError('MOUNT_NO_FILESYSTEM', `expected a file system, found ${what}`, {
    remedy:
      table === undefined
        ? 'Attach the disk without mounting it.'
        : 'Name the partition that is to be mounted.',
  })
}

/** What the kernel said last about a device; nothing when it may not be asked. */
async function kernelWords(device: string): Promise<readonly string[]> {
  const { output } = await attempt('dmesg', ['--notime'])
  const name = basename(device)
  return output
    .split('\n')
    .filter((line) => line.includes(`(${name})`) || line.includes(`${name}:`))
    .slice(-2)
}
