import { randomFillSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DirectoryStore } from '#adapters/blobs-directory/index.ts'
import { type CacheDirectory, openCacheDirectory } from '#adapters/cache-directory/index.ts'
import { openDiscardedSlots, openKeptSlots } from '#adapters/overlay-file/index.ts'
import { openedLater, openUpstream, type StoreOptions } from '#apps/images/open-store.ts'
// Each from its own file: all that imports and compares images takes time to load, too.
import { type ImageKey, overlayKeyOf } from '#core/artifact/image-key.ts'
import type { Patience } from '#core/artifact/in-turn.ts'
import type { ImageManifest } from '#core/artifact/manifest.ts'
import { type OpenedImage, openImage } from '#core/artifact/open-image.ts'
import { noCache } from '#core/artifact/stored-cache.ts'
import {
  type BlobDigest,
  type BlobReader,
  defaultRetries,
  digestOf,
  formatReference,
  type ImageReference,
  pauseMs,
} from '#core/blobs/index.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { encodeTrace } from '#core/block/boot-trace.ts'
import { TraceRecorder, traced } from '#core/block/boot-trace-recorder.ts'
import { replayTrace } from '#core/block/boot-trace-replay.ts'
import { gated } from '#core/block/gated.ts'
import { memorySlots } from '#core/block/memory-slots.ts'
import { observed } from '#core/block/observed.ts'
import { overlay, overlayBlocks } from '#core/block/overlay.ts'
import { readAhead } from '#core/block/read-ahead.ts'
import { readAround } from '#core/block/read-around.ts'
import type { SlotStore } from '#core/block/slot-store.ts'
import { spilledSlots } from '#core/block/spilled-slots.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { isKept, type Overlay } from '#core/trust/words.ts'
import type { OpenReplicated, ReplicatedOverlay } from '../replica/replicated-overlay.ts'
import type { DiskStats, ReplicaStats } from './disk-stats.ts'
import { LocalShare } from './local-share.ts'

/** What is written while a disk is attached: not allowed, forgotten at the end, kept for the next time, or replicated, too. */
export type OverlayMode = 'read-only' | Overlay

export interface OpenDiskOptions {
  readonly reference: ImageReference
  /** INVARIANT I1: from a release that the threshold of people signed, or made on this machine. */
  readonly manifestDigest: BlobDigest
  /** Addresses, in order of preference. */
  readonly stores: readonly [string, ...string[]]
  readonly storeOptions: StoreOptions
  /** Copied; the caller's is not altered. */
  readonly key: ImageKey
  /** What came from stores is kept here, encrypted as it came; absent: nothing is. */
  readonly cache?: { readonly dir: string; readonly maximumBytes: number }
  /** Unpacked chunks in memory, bytes. */
  readonly memoryBytes: number
  readonly overlay: OverlayMode
  /** Folder for overlays; each kept one has a folder of its own in it. */
  readonly overlayDir: string
  /** For one that is kept: opens it together with its copy in the data centre. */
  readonly replicated?: OpenReplicated | undefined
  /** Writes what was read, in order, to this file when the disk is closed. */
  readonly record?: string
  /** Another way to wait before stores that are all away are asked again, for tests. */
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>
  /** Ends the opening. */
  readonly signal?: AbortSignal
  /** Told of what goes wrong without ending anything. */
  readonly warn: (error: unknown) => void
}

export interface OpenDisk extends AsyncDisposable {
  readonly device: BlockDevice
  readonly manifest: ImageManifest
  readonly name: string
  readonly description: string
  stats(): DiskStats
  /**
   * Has folders that it is read from know it, so that nothing of it is collected, also when its name is gone meanwhile;
   * to be called once it is in use, since that takes another program. What was collected before is told by `warn`.
   */
  pin(): Promise<void>
  /** Its image, for whoever has all of that kept on this machine. */
  readonly copy: ImageCopy
  /**
   * Takes the key away: from now on every read and write fails with the reason. What was written is made durable, or
   * forgotten, before it resolves.
   */
  withdraw(reason: Error): Promise<void>
  /** The copy in the data centre of what is written, if there is one. */
  readonly replica: Pick<ReplicatedOverlay, 'status' | 'finish' | 'isTaken'> | undefined
}

export interface ImageCopy {
  readonly extents: BlockDevice['extents']
  /** Has a range kept on this machine, behind what is read. Never fails: what could not be fetched is not there. */
  keep(offset: number, length: number): Promise<void>
  /** What was fetched and is not written yet, bytes. */
  pendingBytes(): number
  /** Has all that was fetched written, or counted as refused, and made durable. @returns false when it may not be durable */
  sync(): Promise<boolean>
  /** How many chunks were fetched and not kept. */
  refused(): number
  /** Nothing could be written the last time: the device is full, or its folder cannot be written. */
  isFailing(): boolean
}

/** What stays in memory of an overlay that is discarded, before it goes to a file. */
const overlayMemoryBytes = 67_108_864
/** How far reading ahead goes at the most, and how far one reader is served at the least. */
const aheadBytes = 33_554_432
const leastWindowBytes = 1_048_576

/**
 * Opens a signed image as a disk: verified and cached, read ahead, under an overlay.
 *
 * @throws {ArtifactError} {BlobError} {MerkleError} {OverlayFileError}
 */
export async function openDisk(options: OpenDiskOptions): Promise<OpenDisk> {
  await using opening = new AsyncDisposableStack()
  const cache = options.cache && opening.use(openCacheDirectory(options.cache))
  // Before anything is waited for: the caller's key may be wiped meanwhile.
  const overlayKey = overlayKeyOf(options.key)
  opening.defer(() => void overlayKey.fill(0))
  const pins = new Pins()
  const image = opening.use(await openWith(options, cache, pins))
  const { slots, replica } = await openSlotsUnless(options, image, overlayKey)
  const closing = new AbortController()
  const recorder = options.record === undefined ? undefined : recorderOf(image)
  const base = baseOf(image, recorder, options.memoryBytes)
  const counts = { bytesWritten: 0 }
  const disk = slots === undefined ? opening.use(base) : opening.use(overlay(base, slots))
  const counted = observed(
    disk,
    () => {},
    (length) => {
      counts.bytesWritten += length
    },
  )
  const device = gated(counted, closing.signal)
  void prefetch(image, cache, closing.signal, options.warn)
  const local = new LocalShare(image, cache, closing.signal)
  const resources = opening.move()

  let ending: Promise<void> | undefined
  const end = async (reason: Error): Promise<void> => {
    closing.abort(reason)
    image.device.withdraw(reason.message)
    await replica?.stop()
    // What writes to the overlay has made keys of its own from it.
    overlayKey.fill(0)
    if (recorder !== undefined && options.record !== undefined) {
      await writeFile(options.record, encodeTrace(recorder.trace())).catch(options.warn)
    }
    // What lies in the overlay and was not flushed is, as on a disk that is pulled out: made durable where it is kept.
    await slots?.flush().catch(options.warn)
    await resources.disposeAsync()
    await replica?.closed().catch(options.warn)
  }
  const withdraw = (reason: Error): Promise<void> => {
    ending ??= end(reason)
    return ending
  }
  return {
    device,
    manifest: image.manifest,
    name: options.reference.name,
    description: `${formatReference(options.reference)}, verified`,
    stats: () => statsOf(image, local, cache, counts.bytesWritten, replica?.status()),
    pin: () => pins.take(),
    copy: copyOf(image, cache),
    withdraw,
    replica,
    [Symbol.asyncDispose]: () => withdraw(new Error('the disk was closed')),
  }
}

function copyOf({ device }: OpenedImage, cache: CacheDirectory | undefined): ImageCopy {
  return {
    extents: (offset, length) => device.extents(offset, length),
    keep: (offset, length) => device.keep(offset, length),
    pendingBytes: () => cache?.stats().pendingBytes ?? 0,
    sync: async () => (await cache?.sync()) ?? false,
    refused: () => cache?.stats().refused ?? 0,
    isFailing: () => cache?.stats().failure !== undefined,
  }
}

async function openWith(
  options: OpenDiskOptions,
  cache: CacheDirectory | undefined,
  pins: Pins,
): Promise<OpenedImage> {
  const { reference, manifestDigest, key, memoryBytes, signal } = options
  await using opened = new AsyncDisposableStack()
  const [first, ...others] = options.stores
  // While the disk is being opened, a folder that is not there is a mistake that its person should hear of at once.
  let isOpen = false
  const use = async (address: string): Promise<BlobReader> =>
    opened.use(await openStore(address, options, pins, () => isOpen))
  const stores: [BlobReader, ...BlobReader[]] = [await use(first)]
  for (const address of others) stores.push(await use(address))
  // The image disposes of its stores itself, also when it cannot be opened.
  opened.move()
  const image = await openImage({
    reference,
    manifestDigest,
    stores,
    key,
    memoryBytes,
    cache: cache ?? noCache,
    patience: patienceBy(options.pause ?? pauseFor),
    ...(signal && { signal }),
  })
  isOpen = true
  return image
}

/**
 * A store that cannot be opened now is one that is away: others may have the image, or this machine has all of it. What
 * is read from a folder is kept from being collected meanwhile, where the folder can be written.
 */
async function openStore(
  address: string,
  options: OpenDiskOptions,
  pins: Pins,
  isOpen: () => boolean,
): Promise<BlobReader> {
  const open = async (): Promise<BlobReader> => {
    const store = await openUpstream(address, options.storeOptions)
    return 'pin' in store ? pinned(store, options, pins) : store
  }
  try {
    return await open()
  } catch {
    // Only a folder comes back: it is mounted.
    return openedLater(address, open, () => isOpen() && !address.includes('://'))
  }
}

/** Takes a pin, once. */
type Pin = () => Promise<unknown>

/** Pins that are taken when it is said, and of folders that are opened later at once. */
class Pins {
  readonly #pins: Pin[] = []
  #isTaken = false

  add(pin: Pin): void {
    this.#pins.push(pin)
    if (this.#isTaken) void pin()
  }

  async take(): Promise<void> {
    this.#isTaken = true
    await Promise.all(this.#pins.map((pin) => pin()))
  }
}

/** Where nothing can be written, nothing is collected from here either. */
const unpinnable: ReadonlySet<string> = new Set(['BLOB_DENIED', 'BLOB_NO_SPACE'])

function pinned(store: DirectoryStore, { reference, warn }: OpenDiskOptions, pins: Pins): BlobReader {
  // Asked for now: until there is time for a pin the name may be taken away, or given to another image.
  const named = store.manifest(reference).catch(() => undefined)
  let taken: Promise<AsyncDisposable | undefined> | undefined
  const take = async (): Promise<AsyncDisposable | undefined> => {
    try {
      const manifest = await named
      return manifest && (await store.pin([digestOf(manifest)]))
    } catch (error) {
      if (!isCoded(error) || !unpinnable.has(error.code)) warn(error)
      return undefined
    }
  }
  pins.add(() => (taken ??= take()))
  return {
    name: store.name,
    read: (digest, offset, length, signal) => store.read(digest, offset, length, signal),
    manifest: (wanted, signal) => store.manifest(wanted, signal),
    references: (signal, name) => store.references(signal, name),
    [Symbol.asyncDispose]: async () => {
      await (await taken)?.[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}

const { attempts, pausesMs } = defaultRetries

/** Stores that are all gone for a minute only delay. */
const patienceBy = (pause: typeof pauseFor): Patience => ({
  rounds: attempts,
  pause: (round, signal) => pause(pauseMs(round, { pausesMs, random: Math.random }), signal),
})

function pauseFor(milliseconds: number, signal: AbortSignal): Promise<unknown> {
  return sleep(milliseconds, undefined, { signal })
}

/** Nothing stays open when the opening is ended meanwhile. */
async function openSlotsUnless(
  options: OpenDiskOptions,
  image: OpenedImage,
  key: Uint8Array,
): Promise<OpenedSlots> {
  const opened = await openSlots(options, image, key)
  if (options.signal?.aborted === true) {
    await opened.replica?.stop()
    await opened.slots?.[Symbol.asyncDispose]()
  }
  options.signal?.throwIfAborted()
  return opened
}

interface OpenedSlots {
  readonly slots?: SlotStore
  readonly replica?: ReplicatedOverlay
}

async function openSlots(
  options: OpenDiskOptions,
  { manifest }: OpenedImage,
  key: Uint8Array,
): Promise<OpenedSlots> {
  const { overlay: mode, overlayDir, replicated } = options
  if (mode === 'read-only') return {}
  const { name, version, merkleRoot } = manifest
  const blocks = overlayBlocks(BigInt(manifest.sizeBytes))
  const base = `${name}:${version} ${merkleRoot}`
  const overlay = { blocks, key, base, random: fillRandom }
  if (isKept(mode) && replicated !== undefined) {
    const replica = await replicated(overlay)
    return { slots: replica.slots, replica }
  }
  const folder = isKept(mode) ? join(overlayDir, name, version) : overlayDir
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (isKept(mode)) return { slots: await openKeptSlots({ folder, ...overlay }) }
  const file = await openDiscardedSlots({ folder, blocks, random: fillRandom })
  return { slots: spilledSlots(memorySlots(blocks, overlayMemoryBytes), file) }
}

function fillRandom(bytes: Uint8Array): void {
  randomFillSync(bytes)
}

function baseOf(image: OpenedImage, recorder: TraceRecorder | undefined, memoryBytes: number): BlockDevice {
  const warm = (offset: number, length: number): void => void image.device.guess(offset, length)
  const maximumWindowBytes = Math.max(leastWindowBytes, Math.min(aheadBytes, memoryBytes / 2) / 4)
  const around = readAround(image.device, { warm, maximumBlockBytes: maximumWindowBytes })
  // What is fetched ahead must not push out what was before it is read.
  const ahead = readAhead(around, {
    warm,
    budgetBytes: Math.min(aheadBytes, memoryBytes / 4),
    maximumWindowBytes,
  })
  return recorder === undefined ? ahead : traced(ahead, recorder)
}

function recorderOf({ manifest }: OpenedImage): TraceRecorder {
  const { sizeBytes, chunkBytes } = manifest
  return new TraceRecorder({ sizeBytes: BigInt(sizeBytes), chunkBytes, now: () => performance.now() })
}

/** Fetches what a boot will read, behind what is read. That it fails delays, and is told. */
async function prefetch(
  image: OpenedImage,
  cache: CacheDirectory | undefined,
  signal: AbortSignal,
  warn: (error: unknown) => void,
): Promise<void> {
  // With a cache it is enough that it is on this machine; without one memory is all there is.
  const fetchAhead = (offset: number, length: number): Promise<void> =>
    cache === undefined ? image.device.warm(offset, length) : image.device.keep(offset, length)
  try {
    const trace = await image.trace()
    if (trace !== undefined) await replayTrace(trace, fetchAhead, { signal })
  } catch (error) {
    if (!signal.aborted) warn(error)
  }
}

function statsOf(
  { manifest, counts }: OpenedImage,
  local: LocalShare,
  cache: CacheDirectory | undefined,
  bytesWritten: number,
  replica: ReplicaStats | undefined,
): DiskStats {
  const { bytesFetched, bytesFromCache, requests, hits, misses } = counts
  const percentLocal = local.percent()
  return {
    sizeBytes: manifest.sizeBytes,
    bytesFetched,
    bytesFromCache,
    requests,
    hits,
    misses,
    // Those that the cache saw itself it has taken away before anybody could compare them.
    damaged: counts.damaged + (cache?.stats().damaged ?? 0),
    bytesWritten,
    ...(percentLocal !== undefined && { percentLocal }),
    ...(replica && { replica }),
  }
}
