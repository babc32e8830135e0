import type { ByteSource } from '#core/block/block-device.ts'
import { RangeCache } from '#core/image/range-cache.ts'
import { corrupt, unreadable } from './file-system-error.ts'

/** Where an ext2, ext3 or ext4 file system lies in a source. Source: kernel documentation, "ext4 Data Structures and Algorithms". */

/** An inode as it is on disk, as far as it says what a file is. */
export interface Inode {
  readonly number: number
  /** Type and permissions, as in stat(2). */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly sizeBytes: number
  /** i_block: 60 bytes; where the data is, or for short links the data itself. */
  readonly block: Uint8Array
  readonly hasExtents: boolean
  /** What follows the fields of an inode: extended attributes, if it has any of its own. */
  readonly rest: Uint8Array
  /** i_file_acl: the block of its other extended attributes; 0 without. */
  readonly attributesBlock: number
}

export interface Volume {
  readonly blockBytes: number
  readonly blocks: number
  /** @throws {FileSystemError} FILES_CORRUPT for a block that is not inside */
  readBlocks(first: number, count: number, signal?: AbortSignal): Promise<Uint8Array>
  /** @throws {FileSystemError} FILES_CORRUPT */
  readInode(number: number, signal?: AbortSignal): Promise<Inode>
}

const superblockAt = 1024n
const superblockBytes = 1024
/** filetype, extents, 64bit, multiple mount protection, flexible groups, inodes for attributes, checksum seed, large directories */
const knownIncompatible = 0x2 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
const names: Readonly<Record<number, string>> = {
  4: 'its journal was not played back',
  16: 'it has meta block groups',
  32768: 'it keeps data inside inodes',
  65536: 'it is encrypted',
}
const extentsFlag = 0x80000
const blockFieldBytes = 60
/** Fields that every inode has; how many bytes of others follow, the first of them says. */
const baseInodeBytes = 128

/**
 * @param range where it lies in the source, bytes
 * @throws {FileSystemError} FILES_UNREADABLE, FILES_CORRUPT; what the source throws
 */
export async function openVolume(
  source: ByteSource,
  range: { readonly offset: bigint; readonly sizeBytes: bigint },
  signal?: AbortSignal,
): Promise<Volume> {
  if (range.sizeBytes < superblockAt + BigInt(superblockBytes)) throw unreadable('it is too small')
  const head = viewOf(await source.read(range.offset + superblockAt, superblockBytes, signal))
  if (head.getUint16(0x38, true) !== 0xef53) throw unreadable('it is not ext2, ext3 or ext4')
  const incompatible = head.getUint32(0x60, true)
  const unknown = incompatible & ~knownIncompatible
  if (unknown !== 0)
    throw unreadable(names[unknown & -unknown] ?? `feature ${unknown.toString(16)} is unknown`)
  const layout = layoutOf(head, (incompatible & 0x80) !== 0, range.sizeBytes)
  const { blockBytes, blocks } = layout

  const readBlocks: Volume['readBlocks'] = async (first, count, own) => {
    if (first < 0 || count < 1 || first + count > blocks) throw corrupt(`block ${first} is outside`)
    return source.read(range.offset + BigInt(first) * BigInt(blockBytes), count * blockBytes, own)
  }
  const inodeTable = inodeTables(layout, new RangeCache(source), Number(range.offset))
  return {
    blockBytes,
    blocks,
    readBlocks,
    readInode: async (number, own) => {
      const index = number - 1
      if (number < 1 || number > layout.inodes) throw corrupt(`inode ${number} is outside`)
      const table = await inodeTable(Math.floor(index / layout.groupInodes))
      const at = (index % layout.groupInodes) * layout.inodeBytes
      const bytes = await readBlocks(table + Math.floor(at / blockBytes), 1, own)
      return inodeOf(number, viewOf(bytes.subarray(at % blockBytes, (at % blockBytes) + layout.inodeBytes)))
    },
  }
}

interface Layout {
  readonly blockBytes: number
  readonly blocks: number
  readonly firstBlock: number
  readonly groupBlocks: number
  readonly groupInodes: number
  readonly inodes: number
  readonly inodeBytes: number
  readonly descriptorBytes: number
}

function layoutOf(head: DataView, is64Bit: boolean, sizeBytes: bigint): Layout {
  const blockBytes = 1024 * 2 ** Math.min(head.getUint32(0x18, true), 20)
  const high = is64Bit ? head.getUint32(0x150, true) : 0
  const layout = {
    blockBytes,
    blocks: head.getUint32(0x4, true) + high * 2 ** 32,
    firstBlock: head.getUint32(0x14, true),
    groupBlocks: head.getUint32(0x20, true),
    groupInodes: head.getUint32(0x28, true),
    inodes: head.getUint32(0x0, true),
    inodeBytes: head.getUint32(0x4c, true) === 0 ? 128 : head.getUint16(0x58, true),
    descriptorBytes: is64Bit ? head.getUint16(0xfe, true) : 32,
  }
  const isPossible =
    blockBytes <= 65_536 &&
    BigInt(layout.blocks) * BigInt(blockBytes) <= sizeBytes &&
    layout.firstBlock < 2 &&
    layout.groupBlocks >= 256 &&
    layout.groupBlocks <= 8 * blockBytes &&
    layout.groupInodes >= 1 &&
    layout.groupInodes <= 8 * blockBytes &&
    isPowerOfTwo(layout.inodeBytes) &&
    layout.inodeBytes >= 128 &&
    layout.inodeBytes <= blockBytes &&
    isPowerOfTwo(layout.descriptorBytes) &&
    layout.descriptorBytes >= 32 &&
    layout.descriptorBytes <= 1024
  if (!isPossible) throw corrupt('its superblock says what cannot be')
  return layout
}

/**
 * Says which block a group's inode table begins with. Descriptors are read when they are needed: a disk of zeros may have hundreds of
 * millions of them.
 *
 * @param at where the volume begins in the source, bytes
 */
function inodeTables(
  { blockBytes, blocks, firstBlock, groupBlocks, descriptorBytes }: Layout,
  descriptors: RangeCache,
  at: number,
): (group: number) => Promise<number> {
  const groups = Math.ceil((blocks - firstBlock) / groupBlocks)
  const perBlock = blockBytes / descriptorBytes
  return async (group) => {
    const block = firstBlock + 1 + Math.floor(group / perBlock)
    if (group >= groups || block >= blocks) throw corrupt(`group ${group} is outside`)
    const view = viewOf(await descriptors.get(at + block * blockBytes, blockBytes))
    const place = (group % perBlock) * descriptorBytes
    const high = descriptorBytes >= 64 ? view.getUint32(place + 0x28, true) : 0
    return view.getUint32(place + 0x8, true) + high * 2 ** 32
  }
}

function inodeOf(number: number, view: DataView): Inode {
  const mode = view.getUint16(0x0, true)
  const sizeBytes = view.getUint32(0x4, true) + view.getUint32(0x6c, true) * 2 ** 32
  if (!Number.isSafeInteger(sizeBytes)) throw corrupt(`inode ${number} has an impossible size`)
  const restAt =
    view.byteLength > baseInodeBytes ? baseInodeBytes + view.getUint16(0x80, true) : baseInodeBytes
  if (restAt > view.byteLength) throw corrupt(`inode ${number} has more fields than room`)
  return {
    number,
    mode,
    uid: view.getUint16(0x2, true) + view.getUint16(0x78, true) * 65_536,
    gid: view.getUint16(0x18, true) + view.getUint16(0x7a, true) * 65_536,
    sizeBytes,
    block: new Uint8Array(view.buffer, view.byteOffset + 0x28, blockFieldBytes),
    hasExtents: (view.getUint32(0x20, true) & extentsFlag) !== 0,
    rest: new Uint8Array(view.buffer, view.byteOffset + restAt, view.byteLength - restAt),
    attributesBlock: view.getUint32(0x68, true) + view.getUint16(0x76, true) * 2 ** 32,
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}
