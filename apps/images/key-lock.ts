import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { ImagesError } from './image-error.ts'

/**
 * Waits until this is the only holder of a file's lock, until it is disposed of or the process ends, however.
 *
 * Source: flock(2): a lock belongs to what was opened, not to the process that took it, so that a child can take it
 * for its parent
 *
 * @throws {ImagesError} IMAGE_KEY_NO_LOCK
 */
export async function lockKey(path: string): Promise<AsyncDisposable> {
  const file = await open(path, 'a', 0o600)
  try {
    const child = spawn('flock', ['3'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] })
    const [status] = (await once(child, 'exit')) as [number | null]
    if (status !== 0) throw new Error(`flock ended with ${status}`)
    return file
  } catch (cause) {
    await file.close()
    throw new ImagesError('IMAGE_KEY_NO_LOCK', `${path} cannot be locked by the program flock`, {
      cause,
      remedy: 'Install the package util-linux.',
    })
  }
}
