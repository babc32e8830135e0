import {
  type BlobDigest,
  BlobError,
  type BlobReader,
  decodeOciManifest,
  digestHex,
  digestOf,
  formatReference,
  type ImageReference,
  mediaTypes,
  type OciManifest,
} from '#core/blobs/index.ts'
import { type BootTrace, decodeTrace, fitTrace } from '#core/block/boot-trace.ts'
import { type CacheCounts, cachedChunks } from './chunk-reader.ts'
import { ArtifactError } from './errors.ts'
import { ImageDevice } from './image-device.ts'
import { type ImageIndex, openIndex } from './image-index.ts'
import { chunkKeysOf, type ImageKey, keyIdOf } from './image-key.ts'
import { inTurn, noPatience, type Patience } from './in-turn.ts'
import { chunksOf } from './index-format.ts'
import { findLocal, LocalChunks } from './local-chunks.ts'
import { decodeManifest, type ImageManifest, maximumManifestBytes } from './manifest.ts'
import { failover, forgetful, type StoreImage } from './store-image.ts'
import { authenticatedCache, readOnlyCache, type StoredCache } from './stored-cache.ts'
import { type FetchCounts, upstreamChunks } from './upstream.ts'

export type ImageCounts = FetchCounts & CacheCounts

export interface OpenedImage extends AsyncDisposable {
  readonly manifest: ImageManifest
  readonly device: ImageDevice
  readonly index: ImageIndex
  /**
   * What a boot of it reads, if its makers recorded that. Fetched when asked for.
   *
   * @throws {TraceError} {BlobError}
   */
  trace(): Promise<BootTrace | undefined>
  /** What was read so far, and from where; grows as it is used. */
  readonly counts: Readonly<ImageCounts>
  /** How many of its stored chunks are kept on this machine, as far as is known: of those that were read, and what `findLocal` found. */
  localChunks(): number
  /** Finds out what is kept from other times, behind what is read. Asks no store, and never fails. */
  findLocal(): Promise<void>
}

export interface OpenImageOptions {
  readonly reference: ImageReference
  /**
   * SHA-256 of the image manifest.
   * INVARIANT I1: from a release that the threshold of people signed, or made on this machine.
   */
  readonly manifestDigest: BlobDigest
  /** In order of preference; disposed of with the image. */
  readonly stores: readonly [BlobReader, ...BlobReader[]]
  /** Copied; the caller's is not altered. */
  readonly key: ImageKey
  readonly cache: StoredCache
  /** Unpacked chunks that stay in memory, bytes. */
  readonly memoryBytes: number
  /** When all stores are away; absent: nobody is asked twice. */
  readonly patience?: Patience
  /** Ends the opening; when it is open, `withdraw` ends it. */
  readonly signal?: AbortSignal
}

/**
 * Opens a stored image as a disk. Nothing of it is read but what is needed to find chunks.
 *
 * @throws {ArtifactError} ARTIFACT_MISSING, ARTIFACT_OTHER_IMAGE, ARTIFACT_WRONG_KEY, ARTIFACT_BAD_MANIFEST, ARTIFACT_BAD_INDEX
 * @throws {MerkleError} {BlobError}
 */
export async function openImage(options: OpenImageOptions): Promise<OpenedImage> {
  const ending = new AbortController()
  const giveUp = (): void => ending.abort(options.signal?.reason)
  if (options.signal?.aborted === true) giveUp()
  options.signal?.addEventListener('abort', giveUp)
  await using opened = new AsyncDisposableStack()
  for (const store of options.stores) opened.use(store)
  opened.defer(() => ending.abort(new ArtifactError('ARTIFACT_KEY_WITHDRAWN', 'the disk was closed')))
  const counts = { bytesFetched: 0, requests: 0, bytesFromCache: 0, damaged: 0, hits: 0, misses: 0, waits: 0 }
  const keys = chunkKeysOf(options.key)
  const cacheKey = keys.vector.slice()
  opened.defer(() => void cacheKey.fill(0))
  const cache = authenticatedCache(options.cache, cacheKey)
  const kept = authenticatedCache(readOnlyCache(options.cache), cacheKey)
  const heard: Heard = new Map()
  const manifest = await readManifest(options, heard, ending.signal)
  if (keyIdOf(options.key) !== manifest.keyId) {
    throw new ArtifactError(
      'ARTIFACT_WRONG_KEY',
      `expected key ${manifest.keyId}, got ${keyIdOf(options.key)}`,
      {
        remedy: `Use the key of the image family ${manifest.name}.`,
      },
    )
  }
  const context = { options, manifest, heard, counts, cache, signal: ending.signal }
  const [first, ...others] = options.stores
  const image = failover(
    [storeImage(first, context), ...others.map((store) => storeImage(store, context))],
    options.patience ?? noPatience,
    ending.signal,
  )
  // The root of the tree is looked at now, so that a wrong index is found before anybody relies on it.
  await image.leaves(0)
  const local = new LocalChunks(chunksOf(manifest))
  const device = new ImageDevice({
    manifest,
    index: image,
    chunks: cachedChunks(image, options.cache, local, counts),
    keys,
    memoryBytes: options.memoryBytes,
    isWorthGuessing: (number) => counts.waits > 0 || local.has(number),
    ending,
    resources: opened.move(),
  })
  options.signal?.removeEventListener('abort', giveUp)
  return {
    manifest,
    device,
    index: image,
    trace: () => readTrace(options, manifest, ending.signal),
    counts,
    localChunks: () => local.count,
    findLocal: async () => {
      const index = await keptIndex({ ...context, cache: kept })
      if (index !== undefined) await findLocal(local, index, manifest, options.cache, ending.signal)
    },
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  }
}

/** What a store said of the image when its manifest was read: good for the next question, and for no other. */
type Heard = Map<BlobReader, OciManifest>

interface Context {
  readonly options: OpenImageOptions
  readonly manifest: ImageManifest
  readonly heard: Heard
  readonly counts: ImageCounts
  readonly cache: StoredCache
  readonly signal: AbortSignal
}

/** An image in one store, whose index is opened when it is first asked for and again after a failure. */
function storeImage(blobs: BlobReader, context: Context): StoreImage {
  const { options, counts, signal } = context
  let opening: ReturnType<typeof openStoreIndex> | undefined
  const index = (): ReturnType<typeof openStoreIndex> => {
    opening ??= openStoreIndex(blobs, context)
    opening.catch(() => {
      opening = undefined
    })
    return opening
  }
  return forgetful({
    leaves: async (number) => (await index()).leaves(number),
    forget: (number) => {
      // The next question opens it anew, head and all.
      void opening?.then(
        (opened) => opened.forget(number),
        () => {},
      )
      opening = undefined
    },
    ...upstreamChunks(blobs, counts, options.stores.length === 1, signal),
  })
}

async function openStoreIndex(blobs: BlobReader, context: Context, isPassing = false) {
  const { options, manifest, cache, signal } = context
  const { manifestDigest } = options
  // Stores may have indexes of their own, which name other packs.
  const store = digestHex(digestOf(Buffer.from(blobs.name))).slice(0, 16)
  const name = `${digestHex(manifestDigest)}.${store}`
  const kept = await cache.get(name)
  const known = kept && parseIndexDescriptor(kept)
  const { digest, size } = known ?? (await indexOf(blobs, context))
  const prefix = `${digestHex(digest)}.${store}`
  if (known === undefined) cache.put(name, Buffer.from(`${digest} ${size}`))
  try {
    return await openIndex({
      blobs,
      digest,
      sizeBytes: size,
      manifest,
      cache,
      prefix,
      signal,
      isPassing,
    })
  } catch (error) {
    for (const kept of [name, `${prefix}.head`, `${prefix}.packs`]) cache.drop(kept)
    throw error
  }
}

/** The index of the first store of which this machine keeps enough: what is missing of it stays missing. */
async function keptIndex(context: Context): Promise<ImageIndex | undefined> {
  for (const { name } of context.options.stores) {
    const index = await openStoreIndex({ ...noStore, name }, context, true).catch(() => undefined)
    if (index !== undefined) return index
  }
  return undefined
}

const absent = (): Promise<never> => Promise.reject(new BlobError('BLOB_MISSING', 'it is not kept here'))
const noStore: Omit<BlobReader, 'name'> = {
  read: absent,
  manifest: absent,
  references: absent,
  [Symbol.asyncDispose]: async () => {},
}

function parseIndexDescriptor(bytes: Uint8Array): { digest: BlobDigest; size: number } | undefined {
  const match = /^(sha256:[0-9a-f]{64}) (\d{1,12})$/.exec(Buffer.from(bytes).toString())
  return match === null ? undefined : { digest: match[1] as BlobDigest, size: Number(match[2]) }
}

async function indexOf(
  blobs: BlobReader,
  { options: { reference, manifestDigest }, heard, signal }: Context,
): Promise<{ digest: BlobDigest; size: number }> {
  const said = heard.get(blobs)
  heard.delete(blobs)
  const { layers } = said ?? (await readOciManifest(blobs, reference, manifestDigest, signal))
  const index = layers.find(({ mediaType }) => mediaType === mediaTypes.chunkIndex)
  if (index === undefined) {
    throw new ArtifactError(
      'ARTIFACT_BAD_INDEX',
      `${formatReference(reference)} in ${blobs.name} has no index`,
    )
  }
  return index
}

/** @throws {ArtifactError} ARTIFACT_MISSING, ARTIFACT_OTHER_IMAGE */
async function readOciManifest(
  blobs: BlobReader,
  reference: ImageReference,
  manifestDigest: BlobDigest,
  signal: AbortSignal,
): Promise<OciManifest> {
  const bytes = await blobs.manifest(reference, signal)
  if (bytes === undefined) {
    throw new ArtifactError('ARTIFACT_MISSING', `there is no ${formatReference(reference)} in ${blobs.name}`)
  }
  const manifest = decodeOciManifest(bytes)
  if (manifest.config.digest !== manifestDigest) {
    throw new ArtifactError(
      'ARTIFACT_OTHER_IMAGE',
      `${formatReference(reference)} in ${blobs.name} is not the image that was signed`,
    )
  }
  return manifest
}

/** From what this machine keeps, or the first store that has it; compared with its digest either way. */
async function readManifest(
  options: OpenImageOptions,
  heard: Heard,
  signal: AbortSignal,
): Promise<ImageManifest> {
  const { reference, manifestDigest, stores, cache } = options
  const name = `${digestHex(manifestDigest)}.manifest`
  const kept = await cache.get(name)
  if (kept !== undefined && digestOf(kept) === manifestDigest) return decodeFor(options, kept)
  const bytes = await inTurn(
    () => stores,
    async (store) => {
      const said = await readOciManifest(store, reference, manifestDigest, signal)
      heard.set(store, said)
      const { config } = said
      return verified(store, config.digest, Math.min(config.size, maximumManifestBytes), signal)
    },
    options.patience ?? noPatience,
    signal,
  )
  cache.put(name, bytes)
  return decodeFor(options, bytes)
}

/** A whole blob whose digest was compared. */
async function verified(
  store: BlobReader,
  digest: BlobDigest,
  length: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const bytes = await store.read(digest, 0, length, signal)
  if (digestOf(bytes) === digest) return bytes
  throw new BlobError('BLOB_WRONG_ANSWER', `${store.name} has other bytes under ${digest}`)
}

/** A manifest of another image, signed as it may be, is not what was asked for. */
function decodeFor({ reference }: OpenImageOptions, bytes: Uint8Array): ImageManifest {
  const manifest = decodeManifest(bytes)
  if (manifest.name !== reference.name || manifest.version !== reference.version) {
    throw new ArtifactError(
      'ARTIFACT_OTHER_IMAGE',
      `expected ${formatReference(reference)}, got a manifest of ${manifest.name}:${manifest.version}`,
    )
  }
  return manifest
}

/** INVARIANT I1: what is fetched ahead is told by a trace whose digest was signed. */
async function readTrace(
  { stores, cache, patience = noPatience }: OpenImageOptions,
  { trace, sizeBytes }: ImageManifest,
  signal: AbortSignal,
): Promise<BootTrace | undefined> {
  if (trace === undefined) return undefined
  const digest: BlobDigest = `sha256:${trace.digest}`
  const name = `${trace.digest}.trace`
  const kept = await cache.get(name)
  if (kept !== undefined && digestOf(kept) === digest) return fitTrace(decodeTrace(kept), sizeBytes)
  const bytes = await inTurn(
    () => stores,
    (store) => verified(store, digest, trace.sizeBytes, signal),
    patience,
    signal,
  )
  cache.put(name, bytes)
  return fitTrace(decodeTrace(bytes), sizeBytes)
}
