import { readRuns, runsOf } from './ext4-data.ts'
import { type Inode, type Volume, viewOf } from './ext4-volume.ts'
import { corrupt } from './file-system-error.ts'

/** Values by name, such as `security.capability`. */
export type Attributes = ReadonlyMap<string, Uint8Array>

const magic = 0xea020000
const blockHeaderBytes = 32
const entryBytes = 16
/** The kernel lets nobody set a longer one. */
const maximumValueBytes = 65_536
const prefixes: Readonly<Record<number, string>> = {
  0: '',
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  6: 'security.',
  7: 'system.',
  8: 'system.richacl',
}

/**
 * The extended attributes of a file: those in its inode and those in a block of their own.
 *
 * Source: kernel documentation, "ext4 Data Structures and Algorithms", "Extended Attributes"
 *
 * @throws {FileSystemError} FILES_CORRUPT
 */
export async function attributesOf(volume: Volume, inode: Inode, signal?: AbortSignal): Promise<Attributes> {
  const attributes = new Map<string, Uint8Array>()
  const { rest, attributesBlock } = inode
  if (rest.length >= 4 && viewOf(rest).getUint32(0, true) === magic)
    await addEntries(volume, inode, rest.subarray(4), 0, attributes, signal)
  if (attributesBlock !== 0) {
    const block = await volume.readBlocks(attributesBlock, 1, signal)
    if (viewOf(block).getUint32(0, true) !== magic) throw broken(inode)
    await addEntries(volume, inode, block, blockHeaderBytes, attributes, signal)
  }
  return attributes
}

/**
 * Entries, up to four zeros: {name length u8, prefix u8, value offset u16, value's inode u32, value length u32, hash u32, name}, each
 * from a multiple of 4 on.
 *
 * @param area that offsets of values count in
 */
async function addEntries(
  volume: Volume,
  inode: Inode,
  area: Uint8Array,
  first: number,
  to: Map<string, Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const view = viewOf(area)
  for (let at = first; at + 4 <= area.length && view.getUint32(at, true) !== 0; ) {
    const nameEnd = at + entryBytes + view.getUint8(at)
    if (nameEnd > area.length) throw broken(inode)
    const prefix = view.getUint8(at + 1)
    const suffix = Buffer.from(area.subarray(at + entryBytes, nameEnd)).toString('latin1')
    const name = `${prefixes[prefix] ?? `${prefix}.`}${suffix}`
    // Which of two counts depends on who looks.
    if (to.has(name)) throw broken(inode)
    const [offset, number, length] = [
      view.getUint16(at + 2, true),
      view.getUint32(at + 4, true),
      view.getUint32(at + 8, true),
    ]
    if (length > maximumValueBytes || (number === 0 && offset + length > area.length)) throw broken(inode)
    to.set(
      name,
      number === 0
        ? area.subarray(offset, offset + length)
        : await valueIn(volume, await volume.readInode(number, signal), length, signal),
    )
    at = Math.ceil(nameEnd / 4) * 4
  }
}

/** A long value is what a file that has no name holds. */
async function valueIn(
  volume: Volume,
  inode: Inode,
  length: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  if (inode.sizeBytes !== length) throw broken(inode)
  const count = Math.ceil(length / volume.blockBytes)
  if (count === 0) return new Uint8Array(0)
  return (await readRuns(volume, await runsOf(volume, inode, signal), 0, count, signal)).subarray(0, length)
}

function broken({ number }: Inode): Error {
  return corrupt(`inode ${number} has broken attributes`)
}
