import { lstat, open, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { lockFile } from './folder-lock.ts'
import { lockName } from './open-slots.ts'
import { OverlayFileError } from './overlay-file-error.ts'

/**
 * Removes a folder with all kept overlays in it, while nobody has one of them open. It does not come back with a loss of power when this
 * resolves; interrupted, it is to be said again.
 *
 * @throws {OverlayFileError} OVERLAY_IN_USE, OVERLAY_ELSEWHERE: nothing was removed; OVERLAY_NO_LOCK
 */
export async function discardKept(folder: string): Promise<void> {
  await using locks = new AsyncDisposableStack()
  if ((await unlessMissing(lstat(folder)))?.isSymbolicLink() === true) throw elsewhere(folder)
  const found = (await unlessMissing(readdir(folder, { recursive: true, withFileTypes: true }))) ?? []
  const link = found.find((entry) => entry.isSymbolicLink())
  if (link !== undefined) throw elsewhere(join(link.parentPath, link.name))
  for (const entry of found)
    if (entry.isFile() && entry.name === lockName) locks.use(await lockFile(join(entry.parentPath, lockName)))
  await rm(folder, { recursive: true, force: true })
  await using parent = await unlessMissing(open(dirname(folder)))
  await parent?.sync()
}

/** Overlays are opened through links, which removes nothing of what they lead to. */
function elsewhere(path: string): OverlayFileError {
  return new OverlayFileError('OVERLAY_ELSEWHERE', `${path} is a link, and what it leads to would stay`, {
    remedy: 'Remove what it leads to, then the link.',
  })
}

async function unlessMissing<T>(looking: Promise<T>): Promise<T | undefined> {
  return looking.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}
