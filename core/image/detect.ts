import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from './errors.ts'
import { footerBytes, looksLikeFooter } from './vhd/footer.ts'
import { fileIdentifier } from './vhdx/header.ts'

/** `qcow2` and `vmdk` are known by name only: other programs read them. */
export type ImageFormat = 'vhd' | 'vhdx' | 'qcow2' | 'vmdk' | 'raw'

/**
 * What people take for a disk and is none: read as a raw one it would be stored, signed and delivered before anybody saw that.
 * An ISO is not among them: it is a disk.
 *
 * Source: the magic numbers of file(1)
 */
const noDisks: readonly (readonly [what: string, at: number, magic: string])[] = [
  ['compressed by gzip', 0, '\x1f\x8b\x08'],
  ['compressed by bzip2', 4, '1AY&SY'],
  ['compressed by xz', 0, '\xfd7zXZ\0'],
  ['compressed by zstd', 0, '\x28\xb5\x2f\xfd'],
  ['a ZIP archive', 0, 'PK\x03\x04'],
  ['a 7-Zip archive', 0, "7z\xbc\xaf'\x1c"],
  ['a tar archive, as OVA files are', 257, 'ustar'],
  ['a VDI', 64, '\x7f\x10\xda\xbe'],
]

/**
 * Says what a file seems to be by its first and last bytes; `raw` if nothing else. Nothing is verified.
 *
 * The content of a raw disk is written by whoever uses it, who can make it look like another format. Whoever knows
 * the format must say it and not ask here.
 *
 * @throws {ImageError} IMAGE_UNKNOWN_FORMAT for what is surely no disk
 */
export async function detectFormat(source: ByteSource, signal?: AbortSignal): Promise<ImageFormat> {
  const length = source.sizeBytes < BigInt(footerBytes) ? Number(source.sizeBytes) : footerBytes
  const first = await source.read(0n, length, signal)
  const last = await source.read(source.sizeBytes - BigInt(length), length, signal)
  const text = Buffer.from(first).toString('latin1')
  if (text.startsWith(fileIdentifier)) return 'vhdx'
  if (text.startsWith('QFI\xfb')) return 'qcow2'
  if (['KDMV', 'COWD', '# Disk DescriptorFile'].some((magic) => text.startsWith(magic))) return 'vmdk'
  if (looksLikeFooter(last) || looksLikeFooter(first)) return 'vhd'
  const [noDisk] = noDisks.find(([, at, magic]) => text.startsWith(magic, at)) ?? []
  if (noDisk === undefined) return 'raw'
  throw new ImageError('IMAGE_UNKNOWN_FORMAT', `expected a disk, got a file that is ${noDisk}`, {
    remedy:
      'Unpack it, or convert it with qemu-img convert -O raw, and name the disk that comes out. If it is a raw disk indeed, say that its format is raw.',
  })
}
