import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type FileHandle, open } from 'node:fs/promises'
import { OverlayFileError } from './overlay-file-error.ts'

/**
 * Makes this process the only one that has the file open, until the handle is closed or the process ends, however.
 *
 * Source: flock(2): a lock belongs to what was opened, not to the process that took it, so that a child can take it
 * for its parent; flock(1) exits with 1 when somebody else has it
 *
 * @returns what holds the lock
 * @throws {OverlayFileError} OVERLAY_IN_USE, OVERLAY_NO_LOCK
 */
export async function lockFile(path: string): Promise<FileHandle> {
  const file = await open(path, 'a', 0o600)
  try {
    const status = await flock(file.fd)
    if (status === 0) return file
    throw status === 1
      ? new OverlayFileError('OVERLAY_IN_USE', `another process has the overlay of ${path} open`, {
          remedy: 'End it first, or give this disk an overlay of its own.',
        })
      : new OverlayFileError('OVERLAY_NO_LOCK', `flock ended with ${status}`)
  } catch (error) {
    await file.close()
    throw error
  }
}

async function flock(fd: number): Promise<number | null> {
  const child = spawn('flock', ['--nonblock', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
  try {
    const [status] = (await once(child, 'exit')) as [number | null]
    return status
  } catch (cause) {
    throw new OverlayFileError('OVERLAY_NO_LOCK', 'expected the program flock, which could not be started', {
      remedy: 'Install the package util-linux.',
      cause,
    })
  }
}
