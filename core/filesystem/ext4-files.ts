import type { ByteSource } from '#core/block/block-device.ts'
import { type Run, readRuns, runsOf } from './ext4-data.ts'
import { type Inode, openVolume, type Volume, viewOf } from './ext4-volume.ts'
import { corrupt, FileSystemError } from './file-system-error.ts'

export interface FileEntry {
  /** From the root on, such as `/etc/hosts`; in names that are not UTF-8 each byte beyond ASCII is shown as `\xe4`. */
  readonly path: string
  /** Type and permissions, as in stat(2). */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly sizeBytes: number
  readonly inode: Inode
}

/** The files of an ext2, ext3 or ext4 file system. */
export interface Files {
  readonly volume: Volume
  /** By path; the root itself is not among them. */
  readonly entries: ReadonlyMap<string, FileEntry>
}

const rootInode = 2
const typeMask = 0xf000
const directory = 0x4000
const regular = 0x8000
const link = 0xa000
const maximumEntries = 1_000_000
/** As many entries as there may be, with the longest names. */
const maximumDirectoryBytes = 256 * 2 ** 20
const maximumDepth = 200
/** Links that are shorter lie in the inode. */
const longestInlineLink = 59

/**
 * Lists all files, reading directories and inodes only.
 *
 * @param range where the file system lies in the source, bytes
 * @throws {FileSystemError}; what the source throws
 */
export async function listFiles(
  source: ByteSource,
  range: { readonly offset: bigint; readonly sizeBytes: bigint },
  signal?: AbortSignal,
): Promise<Files> {
  const volume = await openVolume(source, range, signal)
  const entries = new Map<string, FileEntry>()
  const seen = new Set<number>()
  // Each folder may have a block that is mostly empty. Empty ones of any size would take no room in the image.
  let foldersBytes = maximumDirectoryBytes + maximumEntries * volume.blockBytes
  const walk = async (path: string, inode: Inode, depth: number): Promise<void> => {
    if (seen.has(inode.number) || depth > maximumDepth) throw corrupt(`the folder ${path} is inside itself`)
    seen.add(inode.number)
    foldersBytes -= inode.sizeBytes
    if (foldersBytes < 0) throw corrupt('its folders are too large')
    for (const { name, number } of await namesIn(volume, inode, signal)) {
      const child = await volume.readInode(number, signal)
      const { mode, uid, gid, sizeBytes } = child
      const childPath = `${path}/${name}`
      if (entries.size >= maximumEntries)
        throw new FileSystemError('FILES_TOO_MANY', `expected at most ${maximumEntries} files`)
      // One of two would be seen, and the other one opened.
      if (entries.has(childPath)) throw corrupt(`there are two ${childPath}`)
      entries.set(childPath, { path: childPath, mode, uid, gid, sizeBytes, inode: child })
      if (isFolder(child)) await walk(childPath, child, depth + 1)
    }
  }
  const root = await volume.readInode(rootInode, signal)
  if (!isFolder(root)) throw corrupt('its root is no folder')
  await walk('', root, 0)
  return { volume, entries }
}

export function isFolder({ mode }: { readonly mode: number }): boolean {
  return (mode & typeMask) === directory
}

/** What a file holds: runs of blocks, or what stands in the inode itself: a device's number, the target of a short link. */
export type FileData = { readonly runs: readonly Run[] } | { readonly inline: Uint8Array }

export async function dataOf(
  volume: Volume,
  { mode, inode }: FileEntry,
  signal?: AbortSignal,
): Promise<FileData> {
  const type = mode & typeMask
  if (type === regular || (type === link && inode.sizeBytes > longestInlineLink))
    return { runs: await runsOf(volume, inode, signal) }
  return { inline: type === link ? inode.block.subarray(0, inode.sizeBytes) : inode.block }
}

/** Entries of a folder: {inode u32, record u16, name u8, type u8, name}; those of a hashed one read as the same. */
async function namesIn(
  volume: Volume,
  inode: Inode,
  signal: AbortSignal | undefined,
): Promise<readonly { readonly name: string; readonly number: number }[]> {
  if (inode.sizeBytes > maximumDirectoryBytes) throw corrupt(`folder ${inode.number} is too large`)
  const count = Math.ceil(inode.sizeBytes / volume.blockBytes)
  const bytes =
    count === 0
      ? new Uint8Array(0)
      : await readRuns(volume, await runsOf(volume, inode, signal), 0, count, signal)
  const view = viewOf(bytes)
  const names: { name: string; number: number }[] = []
  for (let at = 0; at + 8 <= bytes.length; ) {
    const [number, length, nameLength] = [
      view.getUint32(at, true),
      view.getUint16(at + 4, true),
      view.getUint8(at + 6),
    ]
    // A length of 0 or 65535 stands for a record that fills a block of 64 KiB.
    const recordBytes = length === 0 || length === 65_535 ? 65_536 : length
    if (recordBytes < 8 || at + recordBytes > bytes.length || 8 + nameLength > recordBytes)
      throw corrupt(`folder ${inode.number} has a broken entry`)
    const name = nameOf(bytes.subarray(at + 8, at + 8 + nameLength))
    if (number !== 0 && nameLength > 0 && name !== '.' && name !== '..') {
      if (/[/\0]/u.test(name)) throw corrupt(`folder ${inode.number} has a name that cannot be one`)
      names.push({ name, number })
    }
    at += recordBytes
  }
  return names
}

/** Names that differ stay different, or one could hide another. */
function nameOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes)
  const name = buffer.toString()
  if (buffer.equals(Buffer.from(name))) return name
  return buffer
    .toString('latin1')
    .replaceAll(/[\x80-\xff]/gu, (one) => `\\x${one.charCodeAt(0).toString(16)}`)
}
