import { constants } from 'node:fs'
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { isFull } from '#adapters/overlay-file/index.ts'
import { CodedError } from '#core/errors/coded-error.ts'

export type SnapshotErrorCode =
  | 'SNAPSHOT_EXISTS'
  | 'SNAPSHOT_UNKNOWN'
  | 'SNAPSHOT_BAD_NAME'
  /** The device is full: nothing has changed. */
  | 'SNAPSHOT_NO_ROOM'
export class SnapshotError extends CodedError<SnapshotErrorCode> {}

export interface Snapshot {
  readonly name: string
  /** ISO 8601. */
  readonly takenAt: string
  readonly sizeBytes: number
}

/** Where one overlay is, and what was kept of it. */
export interface OverlayPlace {
  /** The overlay itself: `data`, `journal`, `lock`. */
  readonly dir: string
  /** Its snapshots, a folder each; beside the overlays, whose names begin with a letter or digit. */
  readonly snapshots: string
  /** What is remembered of its replica, and what is being taken from that. */
  readonly replica: string
}

export function overlayPlace(overlayDir: string, name: string, version: string): OverlayPlace {
  return {
    dir: join(overlayDir, name, version),
    snapshots: join(overlayDir, '.snapshots', name, version),
    replica: join(overlayDir, '.replicas', name, version),
  }
}

const files = ['data', 'journal'] as const
const nameForm = /^[a-z0-9][a-z0-9._-]{0,63}$/
const about = z.strictObject({ takenAt: z.iso.datetime() })
const [draft, before] = ['.draft', '.before']

/** The oldest first. */
export async function listSnapshots({ snapshots }: OverlayPlace): Promise<readonly Snapshot[]> {
  const names = await readdir(snapshots).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const found = await Promise.all(
    names.filter((name) => nameForm.test(name)).map((name) => readSnapshot(snapshots, name)),
  )
  return found.toSorted((a, b) => a.takenAt.localeCompare(b.takenAt))
}

/**
 * Copies an overlay that nobody writes to and that was flushed. It is durable when this resolves, and before that it is
 * not there. The copy is encrypted as the overlay is.
 *
 * @throws {SnapshotError} SNAPSHOT_EXISTS, SNAPSHOT_BAD_NAME, SNAPSHOT_NO_ROOM
 */
export async function takeSnapshot(
  { dir, snapshots }: OverlayPlace,
  name: string,
  takenAt: Date,
): Promise<void> {
  requireName(name)
  const target = join(snapshots, name)
  if (await exists(target)) {
    throw new SnapshotError('SNAPSHOT_EXISTS', `there is a snapshot ${name} already`, {
      remedy: 'Choose another name, or remove that one first.',
    })
  }
  const made = await copyTo(dir, join(snapshots, draft))
  await writeDurably(join(made, 'snapshot.json'), JSON.stringify({ takenAt: takenAt.toISOString() }))
  await rename(made, target)
  await syncFolder(snapshots)
}

/**
 * Puts a snapshot in the place of an overlay. What was written since it was taken is gone when this
 * resolves; interrupted, `recoverOverlay` finds the overlay as it was or as it shall be.
 *
 * @param close closes the overlay; called when nothing is left to be done that takes room or time. What it throws leaves all as it was
 * @throws {SnapshotError} SNAPSHOT_UNKNOWN, SNAPSHOT_BAD_NAME, SNAPSHOT_NO_ROOM: the overlay was not closed then
 */
export async function returnToSnapshot(
  place: OverlayPlace,
  name: string,
  close: () => Promise<void> = async () => {},
): Promise<void> {
  const { dir, snapshots } = place
  await requireSnapshot(place, name)
  const made = await copyTo(join(snapshots, name), join(snapshots, draft))
  await close().catch(async (error: unknown) => {
    await rm(made, { recursive: true })
    throw error
  })
  await rename(dir, join(snapshots, before))
  await rename(made, dir)
  await syncFolder(dirname(dir))
  await rm(join(snapshots, before), { recursive: true })
}

/** @throws {SnapshotError} SNAPSHOT_UNKNOWN, SNAPSHOT_BAD_NAME */
export async function removeSnapshot(place: OverlayPlace, name: string): Promise<void> {
  await requireSnapshot(place, name)
  await rm(join(place.snapshots, name), { recursive: true })
}

/** Ends what a crash interrupted. To be called before the overlay is opened. */
export async function recoverOverlay({ dir, snapshots }: OverlayPlace): Promise<void> {
  const old = join(snapshots, before)
  if ((await exists(old)) && !(await exists(dir))) await rename(old, dir)
  for (const left of [old, join(snapshots, draft)]) await rm(left, { recursive: true, force: true })
}

/** Whatever the site decides about an overlay holds for what was kept of it. */
export async function forgetOverlay({ dir, snapshots, replica }: OverlayPlace): Promise<void> {
  for (const folder of [dir, snapshots, replica]) await rm(folder, { recursive: true, force: true })
}

/** Changes with every change of an overlay's files. */
export async function overlayStamp({ dir }: Pick<OverlayPlace, 'dir'>): Promise<string> {
  const stamps = files.map(async (file) => {
    const found = await stat(join(dir, file)).catch(() => undefined)
    return found === undefined ? 'none' : `${found.ino} ${found.size} ${found.mtimeMs}`
  })
  return (await Promise.all(stamps)).join(', ')
}

/** The names in a folder are on the disk. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path)
  await folder.sync()
}

/** Half a copy takes room that the overlay itself may need: nothing of it stays. */
async function copyTo(from: string, to: string): Promise<string> {
  await rm(to, { recursive: true, force: true })
  try {
    return await copyFiles(from, to)
  } catch (error) {
    await rm(to, { recursive: true, force: true })
    if (!isFull(error)) throw error
    throw new SnapshotError('SNAPSHOT_NO_ROOM', 'this device has no room for a copy of what was written', {
      remedy: 'Remove files, or snapshots that are not needed: trustcast vm snapshot remove VM NAME',
      cause: error,
    })
  }
}

async function copyFiles(from: string, to: string): Promise<string> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const file of files) {
    // Without copying a byte where the file system can.
    await copyFile(join(from, file), join(to, file), constants.COPYFILE_FICLONE)
    await using copy = await open(join(to, file))
    await copy.sync()
  }
  await syncFolder(to)
  return to
}

async function writeDurably(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600, flush: true })
  await syncFolder(dirname(path))
}

async function readSnapshot(snapshots: string, name: string): Promise<Snapshot> {
  const folder = join(snapshots, name)
  const { takenAt } = about.parse(JSON.parse(await readFile(join(folder, 'snapshot.json'), 'utf8')))
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file))).size))
  return { name, takenAt, sizeBytes: sizes.reduce((sum, size) => sum + size, 0) }
}

async function requireSnapshot({ snapshots }: OverlayPlace, name: string): Promise<void> {
  requireName(name)
  if (await exists(join(snapshots, name))) return
  throw new SnapshotError('SNAPSHOT_UNKNOWN', `there is no snapshot ${name}`, {
    remedy: 'See what there is: trustcast vm snapshot list VM',
  })
}

function requireName(name: string): void {
  if (nameForm.test(name)) return
  throw new SnapshotError(
    'SNAPSHOT_BAD_NAME',
    `expected lower-case letters, digits, dots and dashes, got ${name}`,
    {
      remedy: 'Choose a name such as before-update.',
    },
  )
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
}
