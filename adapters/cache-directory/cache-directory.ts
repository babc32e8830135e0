import { execFile } from 'node:child_process'
import { existsSync, unlink, utimes } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { StoredCache } from '#core/artifact/stored-cache.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import {
  bytesOf,
  frame,
  headerBytes,
  isSealed,
  maximumEntryBytes,
  readEntry,
  seal,
  writeEntry,
} from './entry-file.ts'
import { asidePathOf, fileOf, filesIn, isEntryName, pathOf } from './layout.ts'
import { diskBytes, UseOrder } from './use-order.ts'

export interface CacheLog {
  warn(fields: object, message: string): void
}

export interface CacheDirectoryOptions {
  /** Absolute; made when missing, for this account alone. Other processes may use it as well. */
  readonly dir: string
  /** What is kept at most, as it lies on the disk. */
  readonly maximumBytes: number
  readonly log?: CacheLog
}

export interface CacheDirectoryStats {
  /** Files that are known of: all, when the directory has been looked at. */
  readonly entries: number
  readonly bytes: number
  /** Taken and not written yet. */
  readonly pendingBytes: number
  readonly hits: number
  readonly misses: number
  /** Written. */
  readonly kept: number
  /** Not taken: too many were waiting, or nothing is being kept. */
  readonly refused: number
  readonly evicted: number
  /** Found torn or altered, and removed. */
  readonly damaged: number
  /** Why nothing is being kept at the moment, as the file system says: `ENOSPC`, `EACCES`. */
  readonly failure: string | undefined
}

/** Waits for what was put to be written when it is disposed of. */
export interface CacheDirectory extends StoredCache, AsyncDisposable {
  stats(): CacheDirectoryStats
  /**
   * Waits until nothing waits to be written, and makes durable all that is kept, whoever wrote it. What could not be
   * written is counted as `refused` then.
   *
   * @returns false when it may not be durable
   */
  sync(): Promise<boolean>
}

/**
 * A cache in files of a directory, which outlives the process. Least recently used entries make room, in batches.
 *
 * Concurrency: any number of calls, and of processes with the same directory. Each process keeps the bound for what it
 * has seen there and looks again now and then: together they may exceed it for a while.
 * Errors: none. What cannot be read is not there; when writing fails nothing is kept for a minute, then it is tried again.
 */
export function openCacheDirectory(options: CacheDirectoryOptions): CacheDirectory {
  return new FileCache(options)
}

/** What may wait to be written; beyond it nothing is taken. */
const maximumPendingBytes = 33_554_432
/** Parts of the bound: what is evicted at once, and what is written before the directory is looked at again. */
const evictPart = 1 / 64
const lookAgainPart = 1 / 8
const retryAfterMs = 60_000

type Counts = { -readonly [Key in 'hits' | 'misses' | 'kept' | 'refused' | 'evicted' | 'damaged']: number }

class FileCache implements CacheDirectory {
  readonly #options: CacheDirectoryOptions
  readonly #order = new UseOrder()
  /** By name, framed, in the order in which they are written. */
  readonly #pending = new Map<string, Buffer>()
  #pendingBytes = 0
  readonly #counts: Counts = { hits: 0, misses: 0, kept: 0, refused: 0, evicted: 0, damaged: 0 }
  readonly #ending = new AbortController()
  #looking: Promise<void> | undefined
  #writing: Promise<void> | undefined
  #writtenSinceLook = 0
  #failure: { readonly code: string; readonly untilMs: number } | undefined
  #isClosed = false

  constructor(options: CacheDirectoryOptions) {
    this.#options = options
    this.#startLooking()
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    if (this.#isClosed || !isEntryName(name)) return undefined
    const bytes = this.#waiting(name) ?? (await this.#read(name))
    this.#counts[bytes === undefined ? 'misses' : 'hits'] += 1
    return bytes
  }

  async has(name: string): Promise<boolean> {
    await this.#looking
    return this.#pending.has(name) || (isEntryName(name) && this.#order.has(fileOf(name)))
  }

  put(name: string, bytes: Uint8Array): boolean {
    if (this.#isClosed || !isEntryName(name)) return false
    const isPossible =
      bytes.length <= maximumEntryBytes && diskBytes(headerBytes + bytes.length) <= this.#options.maximumBytes
    const isFailing = this.#failure !== undefined && performance.now() < this.#failure.untilMs
    if (!isPossible || isFailing || this.#pendingBytes + bytes.length > maximumPendingBytes) {
      this.#counts.refused += 1
      return false
    }
    this.#forgetPending(name)
    const entry = frame(bytes)
    this.#pending.set(name, entry)
    this.#pendingBytes += entry.length
    this.#startWriting()
    return true
  }

  drop(name: string): void {
    if (this.#isClosed || !isEntryName(name)) return
    this.#forgetPending(name)
    this.#remove(fileOf(name))
  }

  stats(): CacheDirectoryStats {
    return {
      ...this.#counts,
      entries: this.#order.size,
      bytes: this.#order.totalBytes,
      pendingBytes: this.#pendingBytes,
      failure: this.#failure?.code,
    }
  }

  async sync(): Promise<boolean> {
    while (this.#writing !== undefined) await this.#writing
    // Of the whole file system, which is one request to the disk: the files are many, and other processes wrote some.
    return new Promise((resolve) => {
      execFile('/usr/bin/sync', ['--file-system', this.#options.dir], { env: {} }, (error) =>
        resolve(error === null),
      )
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#ending.abort()
    await this.#looking
    await this.#writing
  }

  #waiting(name: string): Uint8Array | undefined {
    const entry = this.#pending.get(name)
    return entry && new Uint8Array(bytesOf(entry))
  }

  async #read(name: string): Promise<Uint8Array | undefined> {
    const file = fileOf(name)
    const path = pathOf(this.#options.dir, file)
    // What the directory did not have may have been kept by another process, which is known at once: its names are in the kernel's memory.
    const isKnown = this.#looking !== undefined || this.#order.has(file)
    if (!isKnown && !existsSync(path)) return this.#waiting(name)
    const found = await readEntry(path)
    // It may have been put while the file was looked for.
    if (found === undefined) return this.#waiting(name)
    const { entry, touchedMs } = found
    if (!isSealed(name, entry)) {
      this.#counts.damaged += 1
      this.#remove(file)
      return undefined
    }
    const now = new Date()
    if (this.#order.read(file, entry.length, touchedMs, now.getTime())) utimes(path, now, now, () => {})
    return bytesOf(entry)
  }

  #remove(file: string): void {
    this.#order.forget(file)
    unlink(pathOf(this.#options.dir, file), () => {})
  }

  #forgetPending(name: string): void {
    const entry = this.#pending.get(name)
    if (entry === undefined) return
    this.#pending.delete(name)
    this.#pendingBytes -= entry.length
  }

  #startWriting(): void {
    this.#writing ??= this.#write()
  }

  /** Writes what waits, one after the other: reads need the disk, too. */
  async #write(): Promise<void> {
    try {
      await this.#makeRoom(0)
      for (const [name, entry] of this.#pending) {
        await this.#makeRoom(entry.length)
        await this.#keep(name, entry)
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      // In the same turn in which nothing was left: what is put from now on is written by another run.
      this.#writing = undefined
    }
  }

  async #keep(name: string, entry: Buffer): Promise<void> {
    const { dir } = this.#options
    const file = fileOf(name)
    seal(name, entry)
    await writeEntry(pathOf(dir, file), asidePathOf(dir, file), entry)
    this.#failure = undefined
    if (this.#pending.get(name) !== entry) {
      // Dropped or put again meanwhile.
      await rm(pathOf(dir, file), { force: true })
      return
    }
    this.#order.written(file, entry.length, Date.now())
    this.#forgetPending(name)
    this.#counts.kept += 1
    this.#writtenSinceLook += entry.length
    giveBack(entry)
  }

  async #makeRoom(bytes: number): Promise<void> {
    const { dir, maximumBytes } = this.#options
    const order = this.#order
    if (order.totalBytes + diskBytes(bytes) <= maximumBytes) return
    if (this.#writtenSinceLook > maximumBytes * lookAgainPart) this.#startLooking()
    const target = maximumBytes * (1 - evictPart)
    while (order.totalBytes + diskBytes(bytes) > target) {
      const file = order.oldest()
      if (file === undefined) return
      order.forget(file)
      // Another process may have removed it.
      await rm(pathOf(dir, file), { force: true })
      this.#counts.evicted += 1
    }
  }

  #fail(error: unknown): void {
    const { code = String(error) } = error as NodeJS.ErrnoException
    if (this.#failure === undefined) {
      const { dir } = this.#options
      this.#options.log?.warn(
        { dir, error: code },
        'nothing is kept in the cache: its directory cannot be written',
      )
    }
    this.#failure = { code, untilMs: performance.now() + retryAfterMs }
    this.#counts.refused += this.#pending.size
    this.#pending.clear()
    this.#pendingBytes = 0
  }

  #startLooking(): void {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined
      // There may be more than is allowed.
      this.#startWriting()
    })
  }

  /** Finds out what the directory has, while reads and writes go on. */
  async #look(): Promise<void> {
    this.#writtenSinceLook = 0
    const { signal } = this.#ending
    await this.#order.replace(filesIn(this.#options.dir, signal), Date.now(), signal)
  }
}
