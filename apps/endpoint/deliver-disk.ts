import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openFloors, openReleases, type ReleaseFetch } from '#adapters/releases-tuf/index.ts'
import { runInSandbox, type SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'
import { readIdentity } from '#apps/agent-client/index.ts'
import type { StoreOptions } from '#apps/images/open-store.ts'
import type { LeaseStats } from '#core/api/lease.ts'
import type { ImageManifest } from '#core/artifact/index.ts'
import { BlobError } from '#core/blobs/index.ts'
import { CodedError } from '#core/errors/coded-error.ts'
import { acceptRelease, type SignedRelease, type VerifiedDirection } from '#core/release/index.ts'
import { type OpenDisk as AttachedDisk, openDisk } from './disk/open-disk.ts'
import { type ServeDiskOptions, type ServedDisk, serveDisk } from './disk/serve-disk.ts'
import type { DiskToOpen, OpenDisk, OpenedDisk } from './launch-disk.ts'

export type DeliverErrorCode =
  /** This endpoint was enrolled before the site had release keys, so it cannot tell what they signed. */
  | 'DELIVER_NO_RELEASE_ROOT'
  /** The signed image has no application of the name that the workspace starts. */
  | 'DELIVER_NO_APPLICATION'

export class DeliverError extends CodedError<DeliverErrorCode> {}

export interface DeliverOptions {
  /** The endpoint's state: its identity, what it has seen of releases, its overlays and mounts. */
  readonly dir: string
  readonly cache: { readonly dir: string; readonly maximumBytes: number }
  readonly memoryBytes: number
  readonly storeOptions: StoreOptions
  /** Release metadata of the site. */
  readonly fetch: ReleaseFetch
  /** How the disk is exported, and where it is mounted. */
  readonly serving: Omit<ServeDiskOptions, 'device' | 'name' | 'description' | 'stats' | 'onDetach' | 'warn'>
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
  readonly application: string
  /** Aborts when the lease is over. */
  readonly signal: AbortSignal
}

/** How long a disk that is to be kept may take to be unmounted when its lease is withdrawn, before it is cut off. */
const farewellMs = 2_000

/**
 * Makes what a launch of a streamed disk needs: what may be used is settled, the disk is opened, exported and mounted.
 *
 * INVARIANT I4: what the site directs to is used only if the release keys signed exactly that, and it is not older than
 * what this endpoint has accepted before. The floor is raised, durably, before anything is read.
 */
export function diskDeliverer(options: DeliverOptions): OpenDisk {
  return async (disk) => {
    const release = await acceptedRelease(options, disk.direction, disk.signal)
    const attached = await openDisk({
      reference: { name: release.name, version: release.contentVersion },
      manifestDigest: `sha256:${release.manifestDigest}`,
      stores: requireStores(disk.stores),
      storeOptions: options.storeOptions,
      key: disk.key,
      cache: options.cache,
      memoryBytes: options.memoryBytes,
      overlay: disk.overlay,
      overlayDir: join(options.dir, 'overlays'),
      warn: options.warn,
    })
    return serveDelivered(options, disk, attached)
  }
}

/** @throws {ReleaseError} {DeliverError} DELIVER_NO_RELEASE_ROOT */
async function acceptedRelease(
  { dir, fetch }: DeliverOptions,
  direction: VerifiedDirection,
  signal: AbortSignal,
): Promise<SignedRelease> {
  const { releaseRoot } = await readIdentity(dir, 'endpoint')
  if (releaseRoot === undefined) {
    throw new DeliverError('DELIVER_NO_RELEASE_ROOT', 'this endpoint does not know who signs releases', {
      remedy: 'Enrol it again, now that the site has release keys.',
    })
  }
  const rootBytes = Buffer.from(releaseRoot, 'base64url')
  const releases = await openReleases({ dir: join(dir, 'releases'), rootBytes, fetch })
  await releases.refresh(signal)
  const { name, version } = direction
  const floors = await openFloors(join(dir, 'floors'))
  const accepted = acceptRelease({
    direction,
    release: await releases.release(name, version, signal),
    floor: await floors.get(name),
  })
  await floors.raise(name, accepted.floor)
  return accepted.release
}

function requireStores([first, ...others]: readonly string[]): readonly [string, ...string[]] {
  if (first !== undefined) return [first, ...others]
  throw new BlobError('BLOB_BAD_STORE', 'the site named no store for this image', {
    remedy: 'Ask an admin to register the image with the address of its store.',
  })
}

async function serveDelivered(
  options: DeliverOptions,
  disk: DiskToOpen,
  attached: AttachedDisk,
): Promise<OpenedDisk> {
  const { warn, serving, use } = options
  const served = await serveDisk({
    ...serving,
    device: attached.device,
    name: attached.name,
    description: attached.description,
    stats: () => attached.stats(),
    onDetach: async () => attached[Symbol.asyncDispose](),
    warn,
  })
  let ending: Promise<void> | undefined
  const end = (): Promise<void> => {
    ending ??= takeDown(disk, attached, served, warn)
    return ending
  }
  const { application, signal } = disk
  signal.addEventListener('abort', () => void end(), { once: true })
  return {
    run: async () => {
      // Whoever detaches the disk from elsewhere ends the launch, too.
      await Promise.race([use({ served, manifest: attached.manifest, application, signal }), served.ended])
    },
    stats: () => leaseStatsOf(attached),
    [Symbol.asyncDispose]: end,
  }
}

/**
 * What is to be kept is written out first, as far as that takes no longer than `farewellMs`; then the key is gone, and
 * what still reads fails.
 */
async function takeDown(
  disk: DiskToOpen,
  attached: AttachedDisk,
  served: ServedDisk,
  warn: (error: unknown) => void,
): Promise<void> {
  const reason = disk.signal.aborted ? (disk.signal.reason as Error) : new Error('the disk was closed')
  const isOrderly = disk.overlay === 'keep' || !disk.signal.aborted
  if (isOrderly && (await isDetachedWithin(served, farewellMs))) return
  await attached.withdraw(reason)
  await served.detach(true).catch(warn)
}

/** Unmounts as soon as nobody uses it: what ran from the disk may take a moment to be gone. */
async function isDetachedWithin(served: ServedDisk, ms: number): Promise<boolean> {
  const until = performance.now() + ms
  while (performance.now() < until) {
    const detached = served.detach(false).then(
      () => true,
      () => false,
    )
    if (await Promise.race([detached, sleep(until - performance.now(), false)])) return true
    await sleep(100)
  }
  return false
}

/**
 * Runs the application of a workspace from its mounted disk, in a sandbox whose whole file system the disk is.
 *
 * INVARIANT I1: what is started is what the signed manifest says under the name; the site only names it.
 *
 * @throws {DeliverError} DELIVER_NO_APPLICATION; {SandboxError}
 */
export async function runApplication(
  { served, manifest, application, signal }: DeliveredDisk,
  person: Pick<SandboxRequest, 'user' | 'display' | 'network'>,
): Promise<number> {
  const { applications } = manifest
  const known = Object.hasOwn(applications, application) ? applications[application] : undefined
  const [command, ...args] = known?.command ?? []
  const root = served.record.mount?.dir
  if (command === undefined || root === undefined) {
    throw new DeliverError('DELIVER_NO_APPLICATION', `the signed image has no application ${application}`, {
      remedy: `It has: ${Object.keys(applications).join(', ') || 'none'}. An admin names one in the workspace.`,
    })
  }
  const { exitCode } = await runInSandbox({
    root,
    command,
    args,
    env: { LANG: 'C.UTF-8' },
    home: { path: `/home/${person.user.name}`, from: 'disk' },
    ...person,
    signal,
  })
  return exitCode
}

function leaseStatsOf(attached: AttachedDisk): LeaseStats {
  const { bytesFetched, bytesFromCache, percentLocal = 0, hits, bytesWritten = 0 } = attached.stats()
  return { bytesFetched, bytesLocal: bytesFromCache, percentLocal, cacheHits: hits, bytesWritten }
}
