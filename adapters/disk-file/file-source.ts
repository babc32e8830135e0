import { type FileHandle, open } from 'node:fs/promises'
import { type ByteSource, requireRange } from '#core/block/block-device.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import { DiskFileError } from './errors.ts'

/**
 * A file, or a block device, as bytes that can be read anywhere.
 *
 * @throws {DiskFileError} DISK_FILE_UNREADABLE
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const file = await opened(path)
  const sizeBytes = await sizeOf(file)
  const lent = new WeakSet<Uint8Array>()
  return {
    sizeBytes,
    read: async (offset, length) => {
      requireRange(sizeBytes, offset, length)
      const bytes = Buffer.allocUnsafeSlow(length)
      for (let done = 0; done < length; ) {
        const { bytesRead } = await file.read(bytes, done, length - done, Number(offset) + done)
        if (bytesRead === 0) throw unreadable(path, 'it has become shorter')
        done += bytesRead
      }
      lent.add(bytes)
      return bytes
    },
    done: (bytes) => {
      if (lent.delete(bytes)) giveBack(bytes)
    },
    [Symbol.asyncDispose]: () => file.close(),
  }
}

async function opened(path: string): Promise<FileHandle> {
  try {
    const file = await open(path)
    if (!(await file.stat()).isDirectory()) return file
    await file.close()
  } catch (cause) {
    throw unreadable(path, cause instanceof Error ? cause.message : 'unknown', cause)
  }
  throw unreadable(path, 'it is a folder')
}

/** Block devices say 0 where files say their size; their end is found by asking for less and less. */
async function sizeOf(file: FileHandle): Promise<bigint> {
  const stats = await file.stat({ bigint: true })
  if (!stats.isBlockDevice()) return stats.size
  let [size, step] = [0n, 1n << 46n]
  const byte = Buffer.alloc(1)
  for (; step > 0n; step /= 2n) {
    const { bytesRead } = await file.read(byte, 0, 1, Number(size + step - 1n))
    if (bytesRead === 1) size += step
  }
  return size
}

function unreadable(path: string, why: string, cause?: unknown): DiskFileError {
  return new DiskFileError('DISK_FILE_UNREADABLE', `${path} cannot be read as a disk: ${why}`, {
    cause,
    remedy: 'Name a disk image that you may read.',
  })
}
