import { setTimeout as sleep } from 'node:timers/promises'
import { type DirectoryStore, openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { openHttpLayout, openRegistry } from '#adapters/blobs-http/index.ts'
import {
  BlobError,
  type BlobReader,
  type BlobStore,
  defaultRetries,
  parseStoreAddress,
  retried,
} from '#core/blobs/index.ts'

/** What a connection to a store needs beside its address. */
export interface StoreOptions {
  /** PEM of the authorities that are trusted, instead of the system's. */
  readonly ca?: string
  readonly credentials?: { readonly user: string; readonly password: string }
}

/** Opens a store to be read. A store that is away for a minute only delays. @throws {BlobError} */
export async function openReader(address: string, options: StoreOptions = {}): Promise<BlobReader> {
  const parsed = parseStoreAddress(address)
  if (parsed.kind === 'directory') return openDirectoryStore(parsed.path)
  const upstream =
    parsed.kind === 'http' ? openHttpLayout(parsed.url, options) : openRegistry(parsed, options)
  return retried(upstream, retrying)
}

/** Opens a store to be written; a folder is made when it is not there. @throws {BlobError} */
export async function openWriter(address: string, options: StoreOptions = {}): Promise<BlobStore> {
  const parsed = parseStoreAddress(address)
  if (parsed.kind === 'directory') return openDirectoryStore(parsed.path, { create: true })
  if (parsed.kind === 'registry') return openRegistry(parsed, options)
  throw new BlobError('BLOB_BAD_STORE', `${address} can only be read`, {
    remedy: 'Name the folder that the web server shows, or a registry.',
  })
}

/** @throws {BlobError} BLOB_BAD_STORE unless it is a folder */
export async function openFolder(address: string): Promise<DirectoryStore> {
  const parsed = parseStoreAddress(address)
  if (parsed.kind === 'directory') return openDirectoryStore(parsed.path)
  throw new BlobError('BLOB_BAD_STORE', `${address} is not a folder`, {
    remedy: 'A registry collects what nobody names by its own means.',
  })
}

const retrying = {
  ...defaultRetries,
  sleep: (ms: number, signal?: AbortSignal) => sleep(ms, undefined, { signal }),
  random: Math.random,
}
