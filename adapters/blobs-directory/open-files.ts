import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { BlobError } from '#core/blobs/index.ts'

export interface OpenFile {
  readonly handle: FileHandle
  readonly size: number
}

interface Entry {
  readonly opening: Promise<OpenFile>
  users: number
  /** No longer among the kept ones: its last user closes it. */
  isDropped: boolean
}

/**
 * Keeps files open that are read again and again: at most `limit` of them, the ones used last, and as many more as are
 * in use at that moment, which are at most `limit`, too.
 */
export class OpenFiles {
  readonly #limit: number
  readonly #entries = new Map<string, Entry>()
  readonly #waiting: (() => void)[] = []
  #inUse = 0
  #isClosed = false

  constructor(limit: number) {
    this.#limit = limit
  }

  /** @throws what opening meets: a file that is not there is tried again next time; BLOB_BAD_STORE when closed */
  async use<T>(path: string, action: (file: OpenFile) => Promise<T>): Promise<T> {
    await this.#enter()
    try {
      const entry = this.#entry(path)
      entry.users++
      try {
        return await action(await entry.opening)
      } finally {
        entry.users--
        if (entry.isDropped && entry.users === 0) await close(entry)
      }
    } finally {
      this.#leave()
    }
  }

  /** Forgets a file that was replaced, or can be read no more. */
  async drop(path: string): Promise<void> {
    const entry = this.#entries.get(path)
    if (entry === undefined) return
    this.#entries.delete(path)
    entry.isDropped = true
    if (entry.users === 0) await close(entry)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(Array.from(this.#entries.keys(), (path) => this.drop(path)))
  }

  async #enter(): Promise<void> {
    if (this.#inUse >= this.#limit) {
      // Whoever leaves hands its place on.
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    } else {
      this.#inUse++
    }
    if (!this.#isClosed) return
    this.#leave()
    throw new BlobError('BLOB_BAD_STORE', 'the store is closed')
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#inUse--
    else next()
  }

  #entry(path: string): Entry {
    const known = this.#entries.get(path)
    if (known !== undefined) {
      // A Map is in order of insertion: the first is the one not used for longest.
      this.#entries.delete(path)
      this.#entries.set(path, known)
      return known
    }
    const entry: Entry = { opening: openFile(path), users: 0, isDropped: false }
    entry.opening.catch(() => {
      if (this.#entries.get(path) === entry) this.#entries.delete(path)
    })
    this.#entries.set(path, entry)
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limit) break
      void this.drop(oldest)
    }
    return entry
  }
}

async function openFile(path: string): Promise<OpenFile> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const { size } = await handle.stat()
    return { handle, size }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Nothing was written through it: there is nothing that closing could fail to keep. */
async function close({ opening }: Entry): Promise<void> {
  await opening.then(({ handle }) => handle.close()).catch(() => undefined)
}
