/**
 * A process that serves a disk image, so that it can be killed: `disk-mount.rig.ts OPTIONS`, as JSON. It prints the
 * disk's record when it serves, and each warning. A line on standard input withdraws the disk: reads and writes fail.
 */
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { type ServeDiskOptions, serveDisk } from '#apps/endpoint/disk/serve-disk.ts'
import { type BlockDevice, BlockError, requireRange } from '#core/block/block-device.ts'
import { isCoded } from '#core/errors/coded-error.ts'

export type RigOptions = Pick<ServeDiskOptions, 'mount' | 'socket' | 'format' | 'runDir' | 'name'> & {
  readonly image: string
  readonly writable: boolean
}

const { image, writable, ...rest } = JSON.parse(process.argv[2] ?? '{}') as RigOptions
const ending = new AbortController()
process.once('SIGTERM', () => ending.abort())
const disk = await fileDevice(image)
const input = createInterface(process.stdin).once('line', () => {
  disk.withdrawn = true
  console.log('withdrawn')
})
try {
  const served = await serveDisk({
    ...rest,
    device: disk.device,
    description: 'a disk for tests',
    stats: () => ({
      sizeBytes: Number(disk.device.sizeBytes),
      bytesFetched: disk.bytesRead,
      bytesFromCache: 0,
      requests: disk.reads,
      hits: 0,
      misses: 0,
      damaged: 0,
    }),
    onDetach: async () => disk.device[Symbol.asyncDispose](),
    warn: (error) => console.log(`warning ${isCoded(error) ? error.code : String(error)}`),
    signal: ending.signal,
  })
  console.log(JSON.stringify(served.record))
  await served.ended
} catch (error) {
  console.log(JSON.stringify(isCoded(error) ? { code: error.code, message: error.message } : String(error)))
  process.exitCode = 1
}
input.close()

/** A file as a disk. */
async function fileDevice(
  path: string,
): Promise<{ device: BlockDevice; withdrawn: boolean; bytesRead: number; reads: number }> {
  const file = await open(path, writable ? 'r+' : 'r')
  const sizeBytes = BigInt((await file.stat()).size)
  const require = (offset: bigint, length: number): void => {
    requireRange(sizeBytes, offset, length)
    if (disk.withdrawn) throw new BlockError('BLOCK_CLOSED', 'the disk was withdrawn')
  }
  const write = async (offset: bigint, bytes: Uint8Array): Promise<void> => {
    require(offset, bytes.length)
    await file.write(bytes, 0, bytes.length, Number(offset))
  }
  const reading: BlockDevice = {
    sizeBytes,
    blockSize: 4096,
    read: async (offset, length) => {
      require(offset, length)
      disk.reads += 1
      disk.bytesRead += length
      const bytes = new Uint8Array(length)
      await file.read(bytes, 0, length, Number(offset))
      return bytes
    },
    extents: async (offset, length) => {
      require(offset, length)
      return length === 0 ? [] : [{ length, kind: 'data' }]
    },
    [Symbol.asyncDispose]: () => file.close(),
  }
  const writing: BlockDevice = {
    ...reading,
    write,
    flush: async () => {
      require(0n, 0)
      await file.datasync()
    },
    trim: async (offset, length) => require(offset, length),
    writeZeroes: (offset, length) => write(offset, new Uint8Array(length)),
  }
  const disk = { device: writable ? writing : reading, withdrawn: false, bytesRead: 0, reads: 0 }
  return disk
}
