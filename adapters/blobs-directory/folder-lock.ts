import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { BlobError } from '#core/blobs/index.ts'
import { errnoOf } from './file-error.ts'

/**
 * One holder at a time, over all processes and machines that the file system spans.
 *
 * Node cannot lock files, so flock(1) does. The kernel lets go of the lock when its holder ends in whatever way, also by
 * kill -9: there are no stale locks, and nothing to guess about processes in other namespaces.
 */
export class FolderLock {
  readonly #path: string
  #last: Promise<unknown> = Promise.resolve()

  constructor(path: string) {
    this.#path = path
  }

  /** @throws {BlobError} BLOB_BAD_STORE without flock(1); whatever `action` meets; the reason of `signal` */
  async hold<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    // Within the process they queue here: one flock(1) at a time.
    const turn = this.#last.then(async () => {
      signal?.throwIfAborted()
      await using _lock = await takeLock(this.#path, signal)
      return await action()
    })
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

async function takeLock(path: string, signal?: AbortSignal): Promise<AsyncDisposable> {
  // Made here, so that a folder without permission to write is told from a flock(1) that failed.
  await (await open(path, 'a')).close()
  // The shell says when it has the lock, and keeps it until its standard input ends.
  const child = spawn('flock', ['-x', path, 'sh', '-c', 'echo; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const { promise: ended, resolve: end } = Promise.withResolvers<Error>()
  child.once('error', end)
  child.once('close', (code) => end(new Error(`flock ended with status ${code}`)))
  child.stdin.on('error', () => undefined)
  const abort = () => child.kill()
  signal?.addEventListener('abort', abort, { once: true })
  try {
    const held = new Promise<undefined>((resolve) => child.stdout.once('data', () => resolve(undefined)))
    const failure = await Promise.race([held, ended])
    signal?.throwIfAborted()
    if (failure !== undefined) throw lockError(path, failure)
  } catch (error) {
    child.stdin.end()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await ended
    },
  }
}

function lockError(path: string, cause: Error): BlobError {
  const isMissing = errnoOf(cause) === 'ENOENT'
  return new BlobError('BLOB_BAD_STORE', `expected to lock ${path}: ${cause.message}`, {
    cause,
    remedy: isMissing ? 'Install flock: it is part of util-linux.' : 'Use a file system that can lock files.',
  })
}
