import { open, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { lockFile } from './folder-lock.ts'
import { lockName } from './open-slots.ts'

/**
 * Removes a folder with all kept overlays in it, while nobody has one of them open. It does not come back with a loss of power when this
 * resolves; interrupted, it is to be said again.
 *
 * @throws {OverlayFileError} OVERLAY_IN_USE: nothing was removed; OVERLAY_NO_LOCK
 */
export async function discardKept(folder: string): Promise<void> {
  await using locks = new AsyncDisposableStack()
  const found = (await unlessMissing(readdir(folder, { recursive: true, withFileTypes: true }))) ?? []
  for (const entry of found)
    if (entry.isFile() && entry.name === lockName) locks.use(await lockFile(join(entry.parentPath, lockName)))
  await rm(folder, { recursive: true, force: true })
  await using parent = await unlessMissing(open(dirname(folder)))
  await parent?.sync()
}

async function unlessMissing<T>(looking: Promise<T>): Promise<T | undefined> {
  return looking.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}
