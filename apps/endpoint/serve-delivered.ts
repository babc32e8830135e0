import { setTimeout as sleep } from 'node:timers/promises'
import type { LeaseStats } from '#core/api/lease.ts'
import type { ImageManifest } from '#core/artifact/index.ts'
import { isKept } from '#core/trust/words.ts'
import type { OpenDisk as AttachedDisk, OverlayMode } from './disk/open-disk.ts'
import { type ServeDiskOptions, type ServedDisk, serveDisk } from './disk/serve-disk.ts'
import type { DiskToOpen, OpenedDisk } from './launch-disk.ts'
import { forgetOverlay, type OverlayPlace } from './vm/snapshots.ts'

export interface ServeOptions {
  /** How the disk is exported, and where it is mounted. */
  readonly serving: Omit<
    ServeDiskOptions,
    'device' | 'name' | 'description' | 'stats' | 'onDetach' | 'warn' | 'signal'
  >
  /** Ends what uses a disk that is kept, in good order: what was written is written out, and sent, before the lease is given back. */
  readonly stop?: AbortSignal
  /** What is done with the disk when it is there; the launch is over when that is. */
  readonly use: (disk: DeliveredDisk) => Promise<void>
  readonly warn: (error: unknown) => void
}

/** A disk that is attached under a lease. */
export interface DeliveredDisk {
  readonly served: ServedDisk
  /** Signed; names the applications that may be started from it. */
  readonly manifest: ImageManifest
  /** What the workspace starts. */
  readonly application: string | undefined
  /** What is written stays. */
  readonly isKept: boolean
  /** Aborts when the lease is over, or the use is to end. */
  readonly signal: AbortSignal
}

/** What was opened, and what becomes of what is written to it. */
export interface Delivered {
  readonly attached: AttachedDisk
  /** As it was opened. */
  readonly overlay: OverlayMode
  /** Where its overlay is, if that is kept. */
  readonly place: OverlayPlace
}

/** Whether nothing uses the disk any more, and what was written is sent. */
interface LastRound {
  isBegun: boolean
}

interface Serving {
  readonly served: ServedDisk
  readonly last: LastRound
  /** Why it fails what comes after its orderly end. */
  readonly closed: Error
  readonly warn: (error: unknown) => void
}

type Lease = Pick<DiskToOpen, 'application' | 'signal' | 'overlay'>

/** How long a disk that is to be kept may take to be unmounted when its lease is withdrawn, before it is cut off. */
const farewellMs = 2_000

/**
 * Exports and mounts a disk that was opened under a lease, until the lease is over or the disk is disposed of. At no
 * moment does a lease that is over leave a disk behind: not while it is being mounted either.
 *
 * @throws the reason of the lease's end, {MountError}, {DiskError}, {NbdServerError}: nothing is left of the disk then
 */
export async function serveDelivered(
  given: ServeOptions,
  disk: Lease,
  delivered: Delivered,
): Promise<OpenedDisk> {
  const { attached } = delivered
  const { use, stop } = given
  const closed = new Error('the disk was closed')
  // That nothing more comes to what is discarded anyway is no failure.
  const warn = (error: unknown): void => {
    if (error !== closed || staysKept(disk, delivered)) given.warn(error)
  }
  const options = { ...given, warn }
  const { application, signal } = disk
  const last: LastRound = { isBegun: false }
  const served = await serveUnderLease(options, disk, delivered, last)
  let ending: Promise<void> | undefined
  const end = (): Promise<void> => {
    ending ??= takeDown(disk, delivered, { served, last, closed, warn })
    return ending
  }
  const cutOff = (): void => {
    // At once, also while it is being taken down in good order.
    if (!staysKept(disk, delivered)) void attached.withdraw(signal.reason as Error).catch(warn)
    end().catch(warn)
  }
  signal.addEventListener('abort', cutOff, { once: true })
  if (signal.aborted) {
    await end()
    signal.throwIfAborted()
  }
  void attached.pin()
  return {
    run: async () => {
      const kept = isKept(delivered.overlay)
      const until = stop === undefined || !kept ? signal : AbortSignal.any([signal, stop])
      const using = use({ served, manifest: attached.manifest, application, isKept: kept, signal: until })
      // Whoever detaches the disk from elsewhere ends the launch, too.
      await Promise.race([using, served.ended, kept ? stopped(stop) : never])
    },
    stats: () => leaseStatsOf(attached),
    [Symbol.asyncDispose]: end,
  }
}

/** Nothing is left of it when the lease ends meanwhile: there is nothing yet that could be kept. */
async function serveUnderLease(
  { warn, serving }: ServeOptions,
  { signal, overlay }: Lease,
  delivered: Delivered,
  last: LastRound,
): Promise<ServedDisk> {
  const { attached } = delivered
  // Not the lease's own: the end of that leaves a disk that is there some time to be unmounted.
  const opening = new AbortController()
  const cutOff = (): void => {
    void attached.withdraw(signal.reason as Error).catch(warn)
    opening.abort(signal.reason)
  }
  signal.addEventListener('abort', cutOff, { once: true })
  if (signal.aborted) cutOff()
  try {
    return await serveDisk({
      ...serving,
      device: attached.device,
      name: attached.name,
      description: attached.description,
      stats: () => attached.stats(),
      onDetach: async () => {
        last.isBegun = true
        if (!signal.aborted) await attached.replica?.finish()
        await attached[Symbol.asyncDispose]()
      },
      warn,
      signal: opening.signal,
    })
  } catch (error) {
    await attached.withdraw(error as Error).catch(warn)
    await settleOverlay({ overlay }, delivered, warn)
    throw error
  } finally {
    signal.removeEventListener('abort', cutOff)
  }
}

/**
 * What is to be kept is written out first: while the lease stands for as long as that takes, and once it is over as far as that takes no
 * longer than `farewellMs`. Then the key is gone, and what still reads fails.
 */
async function takeDown(
  disk: Lease,
  delivered: Delivered,
  { served, last, closed, warn }: Serving,
): Promise<void> {
  const { signal } = disk
  const { attached } = delivered
  const isToBeKept = staysKept(disk, delivered)
  const over = isToBeKept ? stopped(signal) : Promise.resolve()
  const isOrderly = isToBeKept || !signal.aborted
  if (!(isOrderly && (await isDetachedWithin(served, last, farewellMs, over)))) {
    await attached.withdraw(signal.aborted ? (signal.reason as Error) : closed).catch(warn)
    await served.detach(true).catch(warn)
  }
  await settleOverlay(disk, delivered, warn)
}

function staysKept(disk: Pick<Lease, 'overlay'>, { overlay }: Delivered): boolean {
  return isKept(overlay) && isKept(disk.overlay())
}

/** The site may have decided while the disk was open that nothing is kept. */
async function settleOverlay(
  disk: Pick<Lease, 'overlay'>,
  delivered: Delivered,
  warn: (error: unknown) => void,
): Promise<void> {
  if (!isKept(delivered.overlay) || staysKept(disk, delivered)) return
  await forgetOverlay(delivered.place).catch(warn)
}

/**
 * Unmounts as soon as nobody uses it: what ran from the disk may take a moment to be gone. What is being written back has so long after `over`,
 * and what is being sent its own time.
 */
async function isDetachedWithin(
  served: ServedDisk,
  last: LastRound,
  ms: number,
  over: Promise<void>,
): Promise<boolean> {
  const until = performance.now() + ms
  const lateAt = over.then(() => performance.now() + ms)
  while (performance.now() < until) {
    const detached = served.detach(false).then(
      () => true,
      () => false,
    )
    const late = lateAt.then((at) => sleep(at - performance.now(), false, { ref: false }))
    if (await Promise.race([detached, late])) return true
    if (last.isBegun) return detached
    await sleep(100)
  }
  return false
}

const never = new Promise<never>(() => {})

async function stopped(stop: AbortSignal | undefined): Promise<void> {
  if (stop === undefined) return never
  await new Promise<void>((resolve) => {
    if (stop.aborted) resolve()
    else stop.addEventListener('abort', () => resolve(), { once: true })
  })
}

export function leaseStatsOf(attached: AttachedDisk): LeaseStats {
  const { bytesFetched, bytesFromCache, percentLocal = 0, hits, bytesWritten = 0 } = attached.stats()
  return { bytesFetched, bytesLocal: bytesFromCache, percentLocal, cacheHits: hits, bytesWritten }
}
