import type { ByteSource } from '#core/block/block-device.ts'
import { footerBytes, looksLikeFooter } from './vhd/footer.ts'
import { fileIdentifier } from './vhdx/header.ts'

/** `qcow2` and `vmdk` are known by name only: other programs read them. */
export type ImageFormat = 'vhd' | 'vhdx' | 'qcow2' | 'vmdk' | 'raw'

/**
 * Says what a file seems to be by its first and last bytes; `raw` if nothing else. Nothing is verified.
 *
 * The content of a raw disk is written by whoever uses it, who can make it look like another format. Whoever knows
 * the format must say it and not ask here.
 */
export async function detectFormat(source: ByteSource, signal?: AbortSignal): Promise<ImageFormat> {
  const length = source.sizeBytes < BigInt(footerBytes) ? Number(source.sizeBytes) : footerBytes
  const first = await source.read(0n, length, signal)
  const last = await source.read(source.sizeBytes - BigInt(length), length, signal)
  const text = Buffer.from(first).toString('latin1')
  if (text.startsWith(fileIdentifier)) return 'vhdx'
  if (text.startsWith('QFI\xfb')) return 'qcow2'
  if (['KDMV', 'COWD', '# Disk DescriptorFile'].some((magic) => text.startsWith(magic))) return 'vmdk'
  return looksLikeFooter(last) || looksLikeFooter(first) ? 'vhd' : 'raw'
}
