import { hash, randomUUID } from 'node:crypto'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** What the names of entries consist of. */
const entryName = /^[0-9a-z.]{1,100}$/
const folderName = /^[0-9a-f]{2}$/
const fileName = /^[0-9a-f]{32}$/
const asideName = /^[0-9a-f]{32}\.[0-9a-f-]{36}$/
/** Nobody writes one file for so long: whoever did was killed. */
const leftoverMs = 600_000

export function isEntryName(name: string): boolean {
  return entryName.test(name)
}

/** The name of an entry's file: whatever an entry is called, files are spread over the folders. */
export function fileOf(name: string): string {
  return hash('sha256', name, 'hex').slice(0, 32)
}

export function pathOf(dir: string, file: string): string {
  return `${dir}/${file.slice(0, 2)}/${file}`
}

/** A name for a file that is being written. */
export function asidePathOf(dir: string, file: string): string {
  return `${pathOf(dir, file)}.${randomUUID()}`
}

export interface FoundFile {
  readonly file: string
  readonly sizeBytes: number
  /** When it was last used, as far as the file says: at most a minute before it was. */
  readonly touchedMs: number
}

/**
 * The entries that a cache directory has, one folder at a time and one look at the disk at a time, so that reads pass
 * by. Removes what killed processes were writing; leaves alone what is none of its own.
 */
export async function* filesIn(dir: string, signal: AbortSignal): AsyncGenerator<FoundFile> {
  for (const folder of (await namesIn(dir)).filter((name) => folderName.test(name))) {
    for (const name of await namesIn(join(dir, folder))) {
      if (signal.aborted) return
      const isEntry = fileName.test(name)
      if (!isEntry && !asideName.test(name)) continue
      const path = join(dir, folder, name)
      const found = await stat(path).catch(() => undefined)
      if (found === undefined) continue
      if (isEntry) yield { file: name, sizeBytes: found.size, touchedMs: found.mtimeMs }
      else if (found.mtimeMs < Date.now() - leftoverMs) await rm(path, { force: true }).catch(() => {})
    }
  }
}

/** Nothing when there is no such folder or it cannot be read. */
async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => [])
}
