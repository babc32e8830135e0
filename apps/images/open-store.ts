import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DirectoryStore, openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import type { openRegistry as openRegistryStore } from '#adapters/blobs-http/registry-store.ts'
import {
  BlobError,
  type BlobReader,
  type BlobStore,
  defaultRetries,
  parseStoreAddress,
  type RetryOptions,
  retried,
  retriedStore,
} from '#core/blobs/index.ts'

/** What a connection to a store needs beside its address. */
export interface StoreOptions {
  /** PEM of the authorities that are trusted, instead of the system's. */
  readonly ca?: string
  /** Shown to this host and no other; with its port, where it has one. */
  readonly credentials?: { readonly user: string; readonly password: string; readonly host: string }
  /** Told once when a store stays away for more than a moment and is asked again. */
  readonly onAway?: (error: BlobError) => void
}

/** Opens a store to be read. A store that is away for a minute only delays. @throws {BlobError} */
export async function openReader(address: string, options: StoreOptions = {}): Promise<BlobReader> {
  const store = await openUpstream(address, options)
  return 'pin' in store ? store : retried(store, retrying(options))
}

/** Opens a store to be read by whoever asks others while it is away, and later again. @throws {BlobError} */
export async function openUpstream(
  address: string,
  options: StoreOptions = {},
): Promise<BlobReader | DirectoryStore> {
  const parsed = parseStoreAddress(address)
  if (parsed.kind === 'directory') return openDirectory(parsed.path)
  const known = onlyFor(new URL(parsed.url).host, options)
  if (parsed.kind === 'registry') return openRegistry(parsed, known)
  const { openHttpLayout } = await import('#adapters/blobs-http/layout-reader.ts')
  return openHttpLayout(parsed.url, known)
}

/**
 * A store that cannot be opened yet: it is tried again whenever it is asked, until that succeeds.
 *
 * @param isAway whether that it cannot be opened says that it is away, for which a reader waits, and no mistake in its address
 */
export function openedLater(
  address: string,
  open: () => Promise<BlobReader>,
  isAway: () => boolean,
): BlobReader {
  let opening: Promise<BlobReader> | undefined
  let isClosed = false
  const opened = async (): Promise<BlobReader> => {
    if (isClosed) throw new BlobError('BLOB_BAD_STORE', 'the store is closed')
    opening ??= open()
    try {
      return await opening
    } catch (cause) {
      opening = undefined
      if (!isAway() || !(cause instanceof BlobError) || cause.code !== 'BLOB_BAD_STORE') throw cause
      const { remedy } = cause
      throw new BlobError('BLOB_UNAVAILABLE', cause.message, {
        cause,
        ...(remedy !== undefined && { remedy }),
      })
    }
  }
  return {
    // Folders go by their whole path.
    name: address.includes('://') ? address : resolve(address),
    read: async (digest, offset, length, signal) => (await opened()).read(digest, offset, length, signal),
    manifest: async (reference, signal) => (await opened()).manifest(reference, signal),
    references: async (signal, name) => (await opened()).references(signal, name),
    [Symbol.asyncDispose]: async () => {
      isClosed = true
      await (await opening?.catch(() => undefined))?.[Symbol.asyncDispose]()
    },
  }
}

/** Credentials are for one host: whoever names another store does not get them. */
function onlyFor(host: string, { ca, credentials }: StoreOptions) {
  return {
    ...(ca !== undefined && { ca }),
    ...(credentials?.host === host && {
      credentials: { user: credentials.user, password: credentials.password },
    }),
  }
}

/** Opens a store to be written, by which one that is away for a minute only delays; a folder is made when it is not there. @throws {BlobError} */
export async function openWriter(address: string, options: StoreOptions = {}): Promise<BlobStore> {
  const parsed = parseStoreAddress(address)
  if (parsed.kind === 'directory') return openDirectory(parsed.path, { create: true })
  if (parsed.kind === 'registry') {
    const registry = await openRegistry(parsed, onlyFor(new URL(parsed.url).host, options))
    return retriedStore(registry, retrying(options))
  }
  throw new BlobError('BLOB_BAD_STORE', `${address} can only be read`, {
    remedy: 'Name the folder that the web server shows, or a registry.',
  })
}

/** @throws {BlobError} BLOB_BAD_STORE unless it is a folder */
export async function openFolder(address: string): Promise<DirectoryStore> {
  const parsed = parseStoreAddress(address)
  if (parsed.kind === 'directory') return openDirectory(parsed.path)
  throw new BlobError('BLOB_BAD_STORE', `${address} is not a folder`, {
    remedy:
      parsed.kind === 'http'
        ? 'Name the folder that the web server shows.'
        : 'A registry takes names away and collects by its own means: see docs/disks.md, “Cleaning up”.',
  })
}

// Each kind of store is loaded by those who use it only: a disk should be there at once.

async function openDirectory(...words: Parameters<typeof openDirectoryStore>): Promise<DirectoryStore> {
  const { openDirectoryStore } = await import('#adapters/blobs-directory/index.ts')
  return openDirectoryStore(...words)
}

async function openRegistry(...words: Parameters<typeof openRegistryStore>): Promise<BlobStore> {
  const { openRegistry } = await import('#adapters/blobs-http/registry-store.ts')
  return openRegistry(...words)
}

/** By then it was asked for about a second. */
const momentFailures = 4

function retrying({ onAway }: StoreOptions): RetryOptions {
  let isTold = false
  return {
    ...defaultRetries,
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    random: Math.random,
    onFailure: (failures, error) => {
      if (isTold || failures < momentFailures) return
      isTold = true
      onAway?.(error)
    },
  }
}
