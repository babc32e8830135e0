import type { BlobReader, BlobStore } from './blob-store.ts'
import { BlobError } from './errors.ts'

/** How long and how often an upstream that is away is asked again. */
export interface RetryOptions {
  /** How often it is asked at most, the first time included. */
  readonly attempts: number
  /** The pause after the first failure, which doubles with each, and the longest. */
  readonly pausesMs: { readonly first: number; readonly longest: number }
  /** Ends early, with an error, when the signal is aborted. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<unknown>
  /** From 0 to below 1. */
  random(): number
  /** Told of each failure after which it is asked again. */
  onFailure?(failures: number, error: BlobError): void
}

/** With these an upstream that is gone for a minute only delays: the pauses add up to between 66 and 133 seconds. */
export const defaultRetries: Pick<RetryOptions, 'attempts' | 'pausesMs'> = {
  attempts: 20,
  pausesMs: { first: 100, longest: 10_000 },
}

/**
 * A reader that asks again, with growing pauses, when the one it wraps answers BLOB_UNAVAILABLE. Other errors rise at
 * once. It owns the reader that it wraps.
 */
export function retried(reader: BlobReader, options: RetryOptions): BlobReader {
  return {
    name: reader.name,
    read: (digest, offset, length, signal) =>
      repeat(() => reader.read(digest, offset, length, signal), options, signal),
    manifest: (reference, signal) => repeat(() => reader.manifest(reference, signal), options, signal),
    references: (signal, name) => repeat(() => reader.references(signal, name), options, signal),
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  }
}

/**
 * A store that is asked again likewise, so that an upload that was cut off is begun anew. Manifests are asked for once: of a store that
 * is not there at all its person hears at once.
 */
export function retriedStore(store: BlobStore, options: RetryOptions): BlobStore {
  return {
    ...retried(store, options),
    manifest: (reference, signal) => store.manifest(reference, signal),
    size: (digest, signal) => repeat(() => store.size(digest, signal), options, signal),
    put: (digest, bytes, signal) => repeat(() => store.put(digest, bytes, signal), options, signal),
    tag: (reference, manifest, signal) =>
      repeat(() => store.tag(reference, manifest, signal), options, signal),
    untag: (reference, signal) => store.untag(reference, signal),
  }
}

async function repeat<T>(ask: () => Promise<T>, options: RetryOptions, signal?: AbortSignal): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof BlobError) || error.code !== 'BLOB_UNAVAILABLE') throw error
      failures++
      if (failures >= options.attempts) throw error
      options.onFailure?.(failures, error)
    }
    await pause(pauseMs(failures, options), options, signal)
  }
}

async function pause(milliseconds: number, options: RetryOptions, signal?: AbortSignal): Promise<void> {
  try {
    await options.sleep(milliseconds, signal)
  } catch (error) {
    // The sleeper may wrap the reason in an error of its own.
    signal?.throwIfAborted()
    throw error
  }
}

/**
 * How long to wait before asking again. The jitter keeps the readers of a store that fell from coming back together.
 *
 * @param failures so far, from 1 on
 */
export function pauseMs(
  failures: number,
  { pausesMs, random }: Pick<RetryOptions, 'pausesMs' | 'random'>,
): number {
  const longest = Math.min(pausesMs.longest, pausesMs.first * 2 ** Math.min(failures - 1, 40))
  return longest * (0.5 + random() / 2)
}
