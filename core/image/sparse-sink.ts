import type { BlockDevice } from '#core/block/block-device.ts'

/**
 * A new file that is written anywhere and reads as zeros where nothing was written.
 *
 * Concurrency: one call at a time.
 */
export interface SparseSink {
  /** Takes the bytes before it answers. Writing beyond the end makes the file longer. */
  write(offset: bigint, bytes: Uint8Array): Promise<void>
  /** Makes the file exactly this long. */
  resize(sizeBytes: bigint): Promise<void>
}

/** Bytes of a device that are not all zeros. */
export interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/**
 * Reads a device in aligned pieces of `pieceBytes`, the last one perhaps shorter, and leaves out those that are zeros.
 * What the device knows to be zeros is not read.
 */
export async function* piecesOf(
  device: BlockDevice,
  pieceBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Piece, void, undefined> {
  const sizeBytes = Number(device.sizeBytes)
  for (let offset = 0; offset < sizeBytes; offset += pieceBytes) {
    signal?.throwIfAborted()
    const length = Math.min(pieceBytes, sizeBytes - offset)
    const extents = await device.extents(BigInt(offset), length, signal)
    if (extents.every(({ kind }) => kind !== 'data')) continue
    const bytes = await device.read(BigInt(offset), length, signal)
    if (!isZeros(bytes)) yield { offset, bytes }
  }
}

/** Equal to itself one byte on, and the first byte is zero: so all are, at the speed of comparing memory. */
function isZeros(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0
}
