import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type FileHandle, open } from 'node:fs/promises'
import { ImagesError } from './image-error.ts'

/**
 * Waits until this is the only holder of a file's lock, until it is disposed of or the process ends, however.
 *
 * @throws {ImagesError} IMAGE_KEY_NO_LOCK
 */
export async function lockKey(path: string): Promise<AsyncDisposable> {
  const file = await open(path, 'a', 0o600)
  try {
    await takeLock(file, path, true)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** With `-n`, flock(1) ends with this when the lock is another's. */
const taken = 1

/**
 * Takes the lock of an open file, which is held until that is closed.
 *
 * Source: flock(2): a lock belongs to what was opened, not to the process that took it, so that a child can take it
 * for its parent
 *
 * @param waits for another holder
 * @returns false when it does not wait and there is another holder
 * @throws {ImagesError} IMAGE_KEY_NO_LOCK
 */
export async function takeLock({ fd }: FileHandle, path: string, waits: boolean): Promise<boolean> {
  try {
    const child = spawn('flock', [...(waits ? [] : ['-n']), '3'], {
      stdio: ['ignore', 'ignore', 'ignore', fd],
    })
    const [status] = (await once(child, 'exit')) as [number | null]
    if (!waits && status === taken) return false
    if (status !== 0) throw new Error(`flock ended with ${status}`)
    return true
  } catch (cause) {
    throw new ImagesError('IMAGE_KEY_NO_LOCK', `${path} cannot be locked by the program flock`, {
      cause,
      remedy: 'Install the package util-linux.',
    })
  }
}
