import type { BlockDevice } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import { piecesOf, type SparseSink } from '../sparse-sink.ts'
import { absentBlock, layoutOf } from './block-table.ts'
import { defaultBlockBytes, encodeDynamicHeader, headerBytes } from './dynamic-header.ts'
import { encodeFooter, type Footer, footerBytes, maximumVhdBytes, noHeader, sectorBytes } from './footer.ts'

export interface VhdIdentity {
  /** A fresh GUID, in lower case with hyphens. */
  readonly uniqueId: string
  /** Now, in seconds since 2000-01-01 UTC. */
  readonly createdSeconds: number
}

const tableAt = footerBytes + headerBytes

/**
 * Writes a disk as a fixed VHD: its bytes, then a footer. What is zeros is not written, so that a sparse file stays so.
 * Until the footer is there, at the very end, the file is no VHD.
 *
 * Spec: Virtual Hard Disk Image Format 1.0, "Fixed Hard Disk Image": data | footer
 *
 * @throws {ImageError} IMAGE_TOO_LARGE, IMAGE_SIZE_UNALIGNED; what device and sink throw
 */
export async function writeFixedVhd(
  device: BlockDevice,
  sink: SparseSink,
  identity: VhdIdentity,
  signal?: AbortSignal,
): Promise<void> {
  const sizeBytes = requireVhdSize(device)
  for await (const { offset, bytes } of piecesOf(device, 1 << 20, signal)) {
    await sink.write(BigInt(offset), bytes)
  }
  await sink.resize(BigInt(sizeBytes + footerBytes))
  await sink.write(
    BigInt(sizeBytes),
    encodeFooter({ ...identity, diskType: 'fixed', sizeBytes, headerAt: noHeader }),
  )
}

/**
 * Writes a disk as a dynamic VHD, with blocks of 2 MiB in the order of the disk and none for zeros.
 * Until both footers are there, at the very end, the file is no VHD.
 *
 * Spec: Virtual Hard Disk Image Format 1.0, "Dynamic Hard Disk Image": footer | dynamic header | block allocation table | for each block
 * its sector bitmap and data | footer
 *
 * @throws {ImageError} IMAGE_TOO_LARGE, IMAGE_SIZE_UNALIGNED; what device and sink throw
 */
export async function writeDynamicVhd(
  device: BlockDevice,
  sink: SparseSink,
  identity: VhdIdentity,
  signal?: AbortSignal,
): Promise<void> {
  const sizeBytes = requireVhdSize(device)
  const { blockBytes, bitmapBytes } = layoutOf(defaultBlockBytes)
  const tableEntries = Math.ceil(sizeBytes / blockBytes)
  const table = new DataView(new ArrayBuffer(Math.ceil((tableEntries * 4) / sectorBytes) * sectorBytes))
  for (let offset = 0; offset < table.byteLength; offset += 4) table.setUint32(offset, absentBlock)

  const allWritten = new Uint8Array(bitmapBytes).fill(0xff)
  let end = tableAt + table.byteLength
  for await (const { offset, bytes } of piecesOf(device, blockBytes, signal)) {
    table.setUint32((offset / blockBytes) * 4, end / sectorBytes)
    await sink.write(BigInt(end), allWritten)
    await sink.write(BigInt(end + bitmapBytes), bytes)
    end += bitmapBytes + blockBytes
  }

  const footer: Footer = { ...identity, diskType: 'dynamic', sizeBytes, headerAt: BigInt(footerBytes) }
  const parent = {
    uniqueId: '00000000-0000-0000-0000-000000000000',
    modifiedSeconds: 0,
    name: '',
    locators: [],
  }
  await sink.resize(BigInt(end + footerBytes))
  await sink.write(BigInt(tableAt), new Uint8Array(table.buffer))
  await sink.write(
    BigInt(footerBytes),
    encodeDynamicHeader({ tableAt: BigInt(tableAt), tableEntries, blockBytes, parent }),
  )
  await sink.write(BigInt(end), encodeFooter(footer))
  await sink.write(0n, encodeFooter(footer))
}

/** @throws {ImageError} IMAGE_TOO_LARGE, IMAGE_SIZE_UNALIGNED */
export function requireVhdSize({ sizeBytes }: BlockDevice): number {
  if (sizeBytes > BigInt(maximumVhdBytes)) {
    throw new ImageError('IMAGE_TOO_LARGE', `expected at most ${maximumVhdBytes} bytes, got ${sizeBytes}`, {
      remedy: 'Export it as a raw image.',
    })
  }
  if (sizeBytes % BigInt(sectorBytes) !== 0n) {
    throw new ImageError(
      'IMAGE_SIZE_UNALIGNED',
      `expected whole sectors of 512 bytes, got ${sizeBytes} bytes`,
    )
  }
  return Number(sizeBytes)
}
