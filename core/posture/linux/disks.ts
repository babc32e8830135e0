import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf } from '../read-text.ts'

/** A file system that is mounted. */
export interface MountFacts {
  /** `254:0`; file systems that are no block device have numbers beginning with `0:`. */
  readonly device: string
  readonly mountPoint: string
  readonly type: string
  /** `/dev/mapper/root`. */
  readonly source: string
  readonly isWritable: boolean
}

/** A block device and those it is made of. */
export interface BlockFacts {
  /** Of device-mapper devices, from `dm/uuid`: `CRYPT-LUKS2-…`, `LVM-…`. */
  readonly uuid?: string | undefined
  readonly slaves: readonly BlockFacts[]
}

/** Where the person's data is, or gets: undefined when its device cannot be followed. */
export interface VolumeFacts {
  readonly role: 'root' | 'data' | 'removable' | 'swap'
  readonly block: BlockFacts | undefined
}

const claim = 'endpoint.diskEncryption'
const diskTypes = new Set(
  'ext2 ext3 ext4 xfs btrfs f2fs jfs reiserfs bcachefs zfs vfat exfat ntfs ntfs3 fuseblk hfsplus'.split(' '),
)
/** dm-crypt's formats. `CRYPT-VERITY-` and `CRYPT-INTEGRITY-` protect from changes, not from reading. */
const encrypting = /^CRYPT-(?:LUKS1|LUKS2|PLAIN|TCRYPT|LOOPAES|BITLK|FVAULT2)-/
const maxDepth = 16

/** @returns `on` when root, every data volume and swap lie on encrypted block devices */
export function judgeDisks(volumes: readonly VolumeFacts[], collector: string): Observation {
  const plain = volumes.filter(({ block }) => block !== undefined && !isEncrypted(block))
  const unclear = volumes.filter(({ block }) => block === undefined)
  const inWords = (some: readonly VolumeFacts[]): string =>
    (['root', 'data', 'removable', 'swap'] as const)
      .map((role) => ({ role, count: some.filter((one) => one.role === role).length }))
      .filter(({ count }) => count > 0)
      .map(({ role, count }) => (role === 'data' || role === 'removable' ? `${count} ${role}` : role))
      .join(', ')
  if (plain.length > 0) return observe(claim, 'off', collector, `not encrypted: ${inWords(plain)}`)
  if (unclear.length > 0 || !volumes.some(({ role }) => role === 'root'))
    return unknown(claim, collector, `it cannot be told of: ${inWords(unclear) || 'root'}`)
  return observe(claim, 'on', collector, `encrypted: ${inWords(volumes)}`)
}

/** @returns true when every way down passes dm-crypt */
export function isEncrypted({ uuid = '', slaves }: BlockFacts, depth: number = maxDepth): boolean {
  if (encrypting.test(uuid)) return true
  return depth > 0 && slaves.length > 0 && slaves.every((slave) => isEncrypted(slave, depth - 1))
}

/**
 * `/proc/PID/mountinfo`, proc_pid_mountinfo(5): `26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw`.
 */
export function parseMountInfo(text: string): readonly MountFacts[] {
  return linesOf(text).flatMap((line) => {
    const words = line.split(' ')
    const separator = words.indexOf('-', 6)
    const [, , device, , mountPoint] = words
    const [type, source, options] = separator === -1 ? [] : words.slice(separator + 1)
    if (device === undefined || mountPoint === undefined || type === undefined || source === undefined)
      return []
    // Of the file system: a service may have it mounted read-only for itself while others write there.
    const isWritable = (options ?? '').split(',').includes('rw')
    return [{ device, mountPoint: unescape(mountPoint), type, source: unescape(source), isWritable }]
  })
}

/** @returns the mounts that hold data: of disks, writable, one for each device, without what firmware boots from */
export function dataMounts(mounts: readonly MountFacts[]): readonly MountFacts[] {
  const held = mounts.filter(
    ({ mountPoint, type, isWritable }) =>
      mountPoint === '/' || (isWritable && diskTypes.has(type) && !isBoot(mountPoint)),
  )
  // Of several mounts over one another the last is the one that is seen.
  const root = held.findLast(({ mountPoint }) => mountPoint === '/')
  const rest = held.filter((mount) => mount.mountPoint !== '/' && mount.device !== root?.device)
  const unique = new Map(rest.map((mount) => [mount.device, mount]))
  return [...(root === undefined ? [] : [root]), ...unique.values()]
}

function isBoot(path: string): boolean {
  return /^\/(?:boot|efi)(?:\/|$)/.test(path)
}

/** `/proc/swaps`: file or device, type, size. @returns devices and files, without those in memory */
export function parseSwaps(text: string): readonly { readonly path: string; readonly isFile: boolean }[] {
  return linesOf(text).flatMap((line) => {
    const [path, type] = line.split(/\s+/)
    if (path === undefined || !path.startsWith('/') || /\/zram\d+$/.test(path)) return []
    return [{ path: unescape(path), isFile: type === 'file' }]
  })
}

/** `\040` and the like stand for white space. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
}
