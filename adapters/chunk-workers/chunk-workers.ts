import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { ChunkSealer, ImageKey, SealedChunk } from '#core/artifact/index.ts'

interface Waiting {
  readonly resolve: (sealed: SealedChunk) => void
  readonly reject: (error: unknown) => void
}

/**
 * Makes stored chunks on all cores: each chunk goes to the thread that has the least to do. A thread that has ended
 * has the least: from then on sealing fails.
 */
export class ChunkWorkers implements ChunkSealer, AsyncDisposable {
  readonly width: number
  readonly #threads: readonly Thread[]

  constructor(key: ImageKey, threads: number = availableParallelism()) {
    this.width = threads
    this.#threads = Array.from({ length: threads }, () => new Thread(key))
  }

  /** @throws what ended a thread */
  async seal(chunk: Uint8Array): Promise<SealedChunk> {
    const thread = this.#threads.reduce((least, other) =>
      other.waiting.size < least.waiting.size ? other : least,
    )
    return thread.seal(chunk)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
  }
}

class Thread {
  readonly worker: Worker
  readonly waiting = new Map<number, Waiting>()
  #next = 0
  #failure: { readonly error: unknown } | undefined

  constructor(key: ImageKey) {
    this.worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: new Uint8Array(key) })
    this.worker.on('message', ({ id, ...sealed }: SealedChunk & { readonly id: number }) => {
      this.waiting.get(id)?.resolve(sealed)
      this.waiting.delete(id)
    })
    this.worker.on('error', (error) => this.#fail(error))
    this.worker.on('exit', () => this.#fail(new Error('a thread that makes chunks has ended')))
  }

  async seal(chunk: Uint8Array): Promise<SealedChunk> {
    // A message to a thread that has ended is lost without a word.
    if (this.#failure !== undefined) throw this.#failure.error
    // A copy, which is given away: the chunk is a part of what was read at once.
    const copy = new Uint8Array(chunk)
    const { promise, resolve, reject } = Promise.withResolvers<SealedChunk>()
    const id = this.#next++
    this.waiting.set(id, { resolve, reject })
    this.worker.postMessage({ id, chunk: copy }, [copy.buffer])
    return promise
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    for (const { reject } of this.waiting.values()) reject(error)
    this.waiting.clear()
  }
}
