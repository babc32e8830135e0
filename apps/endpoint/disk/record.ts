import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What other processes may know about an attached disk. */
export interface DiskRecord {
  /** `[0-9a-f]{8}` */
  readonly id: string
  readonly name: string
  readonly description: string
  /** The process that serves it, and when that started: a pid alone may be another's by now. */
  readonly pid: number
  readonly startTime: string
  readonly format: 'raw' | 'vhd'
  readonly readOnly: boolean
  readonly sizeBytes: number
  /** The unix socket that it is served on. */
  readonly socket: string
  readonly tcp?: { readonly address: string; readonly port: number }
  readonly mount?: {
    readonly dir: string
    readonly filesystem: string
    readonly readOnly: boolean
    /** Which export: the disk's name, or `p1` and so on. */
    readonly export: string
  }
  /** ISO 8601. */
  readonly since: string
}

/** The files of one attached disk, in a folder that only its owner can enter. */
export interface DiskFolder {
  readonly path: string
  readonly record: string
  /** Answers other processes. */
  readonly control: string
  /** Serves NBD unless another socket was asked for. */
  readonly socket: string
}

/** @param runDir see `runDirectory` */
export function folderOf(runDir: string, id: string): DiskFolder {
  const path = join(runDir, 'disks', id)
  return {
    path,
    record: join(path, 'disk.json'),
    control: join(path, 'control.sock'),
    socket: join(path, 'nbd.sock'),
  }
}

/** Makes the folder of a disk; it appears with its record, never without. */
export async function register(runDir: string, record: DiskRecord): Promise<DiskFolder> {
  const folder = folderOf(runDir, record.id)
  const draft = folderOf(runDir, `.${record.id}`)
  await mkdir(draft.path, { recursive: true, mode: 0o700 })
  await writeFile(draft.record, JSON.stringify(record), { mode: 0o600 })
  await rename(draft.path, folder.path)
  return folder
}

/** Readers see the old or the new record, never half of one. */
export async function saveRecord(folder: DiskFolder, record: DiskRecord): Promise<void> {
  await writeFile(`${folder.record}.new`, JSON.stringify(record), { mode: 0o600 })
  await rename(`${folder.record}.new`, folder.record)
}

/** Every disk that is registered, the oldest first. What else lies there is left alone. */
export async function readRecords(runDir: string): Promise<readonly DiskRecord[]> {
  const names = await readdir(join(runDir, 'disks')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const ids = names.filter((name) => /^[0-9a-f]{8}$/.test(name))
  const records = await Promise.all(ids.map((id) => readRecord(folderOf(runDir, id))))
  return records
    .filter((record) => record !== undefined)
    .toSorted((a, b) => a.since.localeCompare(b.since) || a.id.localeCompare(b.id))
}

/** Removes our own files only: should something still be mounted in the folder, nobody's files are lost. */
export async function unregister({ path, control, socket, record }: DiskFolder): Promise<void> {
  for (const file of [control, socket, `${record}.new`, record]) await rm(file, { force: true })
  await rmdir(path).catch(() => undefined)
}

/** @returns undefined when the disk was detached meanwhile */
async function readRecord({ record }: DiskFolder): Promise<DiskRecord | undefined> {
  const text = await readFile(record, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return undefined
  // Loaded by those who read only: a disk should be served at once.
  const { diskRecord } = await import('./record-schema.ts')
  return diskRecord.parse(JSON.parse(text))
}
