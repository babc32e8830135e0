import { randomUUID } from 'node:crypto'
import { link, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { unless } from './file-error.ts'

/**
 * Writes a file under a name that nobody looks for; its bytes are on the disk when this answers.
 *
 * @returns its path, for `rename` or `link`
 */
export async function writeAside(folder: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, randomUUID())
  await mkdir(folder, { recursive: true })
  try {
    await using file = await open(path, 'wx')
    await file.writeFile(bytes)
    await file.datasync()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  }
  return path
}

/** Replaces a file by another content: readers see the old or the new one, also after a loss of power. */
export async function replaceFile(path: string, bytes: Uint8Array, aside: string): Promise<void> {
  await rename(await writeAside(aside, bytes), path)
  await syncFolder(dirname(path))
}

/** Makes a file unless there is one. */
export async function makeFile(path: string, bytes: Uint8Array, aside: string): Promise<void> {
  const made = await writeAside(aside, bytes)
  try {
    await unless(['EEXIST'], link(made, path))
  } finally {
    await rm(made, { force: true })
  }
  await syncFolder(dirname(path))
}

/** The names in a folder are on the disk. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r')
  await folder.sync()
}

/**
 * Syncs a folder for many writers at once: each waits for a sync that began after its own change, and all that wait
 * meanwhile share the next one.
 */
export class SharedSync {
  readonly #sync: () => Promise<void>
  #running: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  constructor(sync: () => Promise<void>) {
    this.#sync = sync
  }

  /** What was changed before this call is on the disk when it answers. */
  run(): Promise<void> {
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined
        this.#running = this.#sync()
        return this.#running
      })
    return this.#next
  }
}
