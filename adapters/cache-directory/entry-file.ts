import { closeSync, constants, fstatSync, open, read, write } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'

/**
 * An entry as a file: what tells a torn or damaged one from a whole one, and the bytes.
 *
 * ```
 * "TCC1" | CRC-32 of name and bytes u32 big-endian | bytes
 * ```
 *
 * The checksum is against accidents. Against people who alter files, whoever gets the bytes verifies them.
 */
export const headerBytes = 8
/** No entry is larger. */
export const maximumEntryBytes = 8_388_608

const magic = 0x54434331
// A link, a pipe or a device in the place of a file is no entry, and must not keep anybody waiting.
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** A copy of the bytes with room for the header before them, which `seal` fills. */
export function frame(bytes: Uint8Array): Buffer {
  // Not from the pool: a view of that would keep all of it alive.
  const entry = Buffer.allocUnsafeSlow(headerBytes + bytes.length)
  entry.set(bytes, headerBytes)
  return entry
}

/** The bytes of a framed entry. */
export function bytesOf(entry: Buffer): Uint8Array {
  return entry.subarray(headerBytes)
}

export function seal(name: string, entry: Buffer): void {
  entry.writeUInt32BE(magic, 0)
  entry.writeUInt32BE(checksum(name, entry), 4)
}

export function isSealed(name: string, entry: Buffer): boolean {
  return (
    entry.length >= headerBytes &&
    entry.readUInt32BE(0) === magic &&
    entry.readUInt32BE(4) === checksum(name, entry)
  )
}

function checksum(name: string, entry: Buffer): number {
  return crc32(bytesOf(entry), crc32(name))
}

export interface ReadEntry {
  readonly entry: Buffer
  /** When the file says that it was last used, in milliseconds since 1970. */
  readonly touchedMs: number
}

/**
 * Reads a file. The size of an open file and its closing need no disk, and so are done at once instead of on another
 * thread: two turns fewer than `readFile` takes.
 *
 * @returns undefined when there is no such file, or one that is none of ours
 */
export function readEntry(path: string): Promise<ReadEntry | undefined> {
  return new Promise((resolve) => {
    open(path, readFlags, (error, descriptor) => {
      if (error === null) readWhole(descriptor, resolve)
      else resolve(undefined)
    })
  })
}

function readWhole(descriptor: number, resolve: (found: ReadEntry | undefined) => void): void {
  const { size, mtimeMs } = fstatSync(descriptor)
  // What is larger is none of ours, and has a wrong checksum when it is cut off.
  const entry = Buffer.allocUnsafeSlow(Math.min(size, headerBytes + maximumEntryBytes))
  read(descriptor, entry, 0, entry.length, 0, (error, bytesRead) => {
    closeSync(descriptor)
    // After a short read no checksum is right.
    resolve(error === null ? { entry: entry.subarray(0, bytesRead), touchedMs: mtimeMs } : undefined)
  })
}

/**
 * Writes a file aside and gives it its name, so that nobody finds half of it. Not durable before the cache's
 * `sync`: what a crash loses or tears is fetched again.
 *
 * @param aside on the same file system; removed when this fails
 * @throws what the file system says
 */
export async function writeEntry(path: string, aside: string, entry: Buffer): Promise<void> {
  try {
    await writeWhole(await openAside(aside), entry)
    await rename(aside, path)
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {})
    throw error
  }
}

const openFile = promisify(open)
const writeFile = promisify(write)

/** A new file, whose folder is made if there is none. */
async function openAside(aside: string): Promise<number> {
  try {
    return await openFile(aside, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  await mkdir(dirname(aside), { recursive: true, mode: 0o700 })
  return openFile(aside, 'wx', 0o600)
}

/** Writes all of an entry and closes the file, at once as above. */
async function writeWhole(descriptor: number, entry: Buffer): Promise<void> {
  try {
    for (let done = 0; done < entry.length; ) {
      done += (await writeFile(descriptor, entry, done, entry.length - done, done)).bytesWritten
    }
  } finally {
    closeSync(descriptor)
  }
}
