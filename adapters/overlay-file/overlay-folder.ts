import { read, readSync, write } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** A file of an overlay. Any number of calls at once. */
export interface OverlayFile {
  /** @returns how many bytes there were: fewer than asked for only at the end of the file */
  read(into: Uint8Array, position: number): Promise<number>
  /**
   * The same without waiting, for a few KiB that the system is likely to have in its memory: to ask for them costs less
   * than to be told of them. @returns undefined when they had better be waited for
   */
  readNow?(into: Uint8Array, position: number): number | undefined
  /** Writes all of it, or throws. */
  write(bytes: Uint8Array, position: number): Promise<void>
  /** What was written before is durable, and so is the file's length. */
  datasync(): Promise<void>
  truncate(sizeBytes: number): Promise<void>
  sizeBytes(): Promise<number>
  close(): Promise<void>
}

/** The folder that holds the files of one overlay. */
export interface OverlayFolder {
  /** @returns undefined when there is no such file */
  open(name: string): Promise<OverlayFile | undefined>
  /** A new, empty file in the place of any that is there. */
  create(name: string): Promise<OverlayFile>
  /** Puts one file in the place of another at once; durable after `sync`. */
  replace(name: string, target: string): Promise<void>
  remove(name: string): Promise<void>
  /** All names in the folder are durable. */
  sync(): Promise<void>
}

/** A folder on a disk; made if it is missing, closed to others. */
export async function diskFolder(path: string): Promise<OverlayFolder> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  const sync = async (): Promise<void> => {
    await using folder = await open(path)
    await folder.sync()
  }
  return {
    open: async (name) => {
      const file = await open(join(path, name), 'r+').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      return file && diskFile(file)
    },
    create: async (name) => diskFile(await open(join(path, name), 'w+', 0o600)),
    replace: (name, target) => rename(join(path, name), join(path, target)),
    remove: (name) => rm(join(path, name), { force: true }),
    sync,
  }
}

/** True for an error that says that there is no room. */
export function isFull(error: unknown): boolean {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
}

function diskFile(file: FileHandle): OverlayFile {
  const pace = new ReadPace()
  return {
    readNow: (into, position) =>
      into.length <= longestNow
        ? pace.run(() => readSync(file.fd, into, 0, into.length, position))
        : undefined,
    read: async (into, position) => {
      let filled = 0
      while (filled < into.length) {
        const count = await readSome(file.fd, into.subarray(filled), position + filled)
        if (count === 0) break
        filled += count
      }
      return filled
    },
    write: async (bytes, position) => {
      let done = 0
      while (done < bytes.length) {
        // A file system that is nearly full takes a part and refuses the rest at the next call.
        done += await writeSome(file.fd, bytes.subarray(done), position + done)
      }
    },
    datasync: () => file.datasync(),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    sizeBytes: async () => (await file.stat()).size,
    close: () => file.close(),
  }
}

const longestNow = 16_384
/** What is read from the memory of the system takes a few microseconds, from any disk more than this. */
const quickMs = 0.04
const [fewWaits, mostWaits] = [32, 4096]

/** Tries again and again whether reads are quick, and leaves it the longer the more often they were not. */
class ReadPace {
  #waits = 0
  #next = fewWaits

  run(work: () => number): number | undefined {
    if (this.#waits > 0) {
      this.#waits--
      return undefined
    }
    const began = performance.now()
    const result = work()
    const isQuick = performance.now() - began < quickMs
    this.#waits = isQuick ? 0 : this.#next
    this.#next = isQuick ? fewWaits : Math.min(mostWaits, this.#next * 2)
    return result
  }
}

/** By callback: what a file handle's own method costs beside the call is as much as reading 4 KiB. */
function readSome(fd: number, into: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.length, position, (error, count) => {
      if (error) reject(error)
      else resolve(count)
    })
  })
}

function writeSome(fd: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, position, (error, count) => {
      if (error) reject(error)
      else resolve(count)
    })
  })
}
