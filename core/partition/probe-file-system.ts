import type { ByteSource } from '#core/block/block-device.ts'

export interface FileSystem {
  readonly type: 'ext2' | 'ext3' | 'ext4' | 'xfs' | 'btrfs' | 'ntfs' | 'vfat' | 'squashfs' | 'swap'
  /** Absent when it has none, or this reader does not look for it. */
  readonly label?: string
}

/** Where the first of these file systems has something, and how much there is to see. */
const headBytes = 4096
const btrfsAt = 65_536

/**
 * Says what file system a disk or partition holds, by its magic numbers. Reads 8 KiB at most and believes nothing but
 * what it needs for the name.
 *
 * @param range the partition; absent: all of the source
 * @returns undefined for none of those that are known here
 */
export async function probeFileSystem(
  source: ByteSource,
  range: { readonly offset: bigint; readonly sizeBytes: bigint } = {
    offset: 0n,
    sizeBytes: source.sizeBytes,
  },
  signal?: AbortSignal,
): Promise<FileSystem | undefined> {
  const part = (at: number): Promise<Uint8Array> => {
    const left = range.sizeBytes - BigInt(at)
    const length = left < 0n ? 0 : left < BigInt(headBytes) ? Number(left) : headBytes
    return length === 0
      ? Promise.resolve(new Uint8Array(0))
      : source.read(range.offset + BigInt(at), length, signal)
  }
  const head = new Head(await part(0))
  return (
    extended(head) ??
    xfs(head) ??
    squashfs(head) ??
    ntfs(head) ??
    vfat(head) ??
    swap(head) ??
    btrfs(new Head(await part(btrfsAt)))
  )
}

/** The first bytes of a file system; what is beyond them is zeros. */
class Head {
  readonly #bytes = new Uint8Array(headBytes)
  readonly #view = new DataView(this.#bytes.buffer)

  constructor(bytes: Uint8Array) {
    this.#bytes.set(bytes)
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true)
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  has(at: number, text: string): boolean {
    return Buffer.from(this.#bytes.subarray(at, at + text.length)).toString('latin1') === text
  }

  /** A label that ends with a zero byte, with spaces, or with its field. */
  label(at: number, length: number): { label?: string } {
    const text = Buffer.from(this.#bytes.subarray(at, at + length)).toString('utf8')
    const label = text.replace(/\0.*$/su, '').trimEnd()
    return label === '' ? {} : { label }
  }
}

/** Source: kernel documentation, ext4 "Super Block": at 1024, magic at 0x38, features at 0x5c, 0x60, 0x64, name at 0x78 */
function extended(head: Head): FileSystem | undefined {
  const at = 1024
  if (head.u16(at + 0x38) !== 0xef53) return undefined
  const [compatible, incompatible, readOnly] = [head.u32(at + 0x5c), head.u32(at + 0x60), head.u32(at + 0x64)]
  // What ext3 has: filetype, recovery, meta_bg; sparse_super, large_file. Anything else came with ext4.
  const isExt4 = (incompatible & ~0x16) !== 0 || (readOnly & ~0x3) !== 0
  const type = isExt4 ? 'ext4' : (compatible & 0x4) !== 0 ? 'ext3' : 'ext2'
  return { type, ...head.label(at + 0x78, 16) }
}

function xfs(head: Head): FileSystem | undefined {
  return head.has(0, 'XFSB') ? { type: 'xfs', ...head.label(108, 12) } : undefined
}

function squashfs(head: Head): FileSystem | undefined {
  return head.has(0, 'hsqs') ? { type: 'squashfs' } : undefined
}

/** Its name is a file of its own, deep inside. */
function ntfs(head: Head): FileSystem | undefined {
  return head.has(3, 'NTFS    ') ? { type: 'ntfs' } : undefined
}

function vfat(head: Head): FileSystem | undefined {
  if (head.u16(510) !== 0xaa55) return undefined
  const isFat32 = head.has(82, 'FAT32   ')
  const isOlder = head.has(54, 'FAT12   ') || head.has(54, 'FAT16   ')
  if (!isFat32 && !isOlder) return undefined
  const { label } = head.label(isFat32 ? 71 : 43, 11)
  return label === undefined || label === 'NO NAME' ? { type: 'vfat' } : { type: 'vfat', label }
}

/** At the end of the first page, whose size is that of the machine: 4 KiB here. */
function swap(head: Head): FileSystem | undefined {
  return head.has(headBytes - 10, 'SWAPSPACE2') ? { type: 'swap', ...head.label(1052, 16) } : undefined
}

function btrfs(head: Head): FileSystem | undefined {
  return head.has(64, '_BHRfS_M') ? { type: 'btrfs', ...head.label(299, 256) } : undefined
}
