import { join } from 'node:path'
import { openFloors, openReleases, type ReleaseFetch } from '#adapters/releases-tuf/index.ts'
import { runInSandbox, type SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'
import { readIdentity } from '#apps/agent-client/index.ts'
import type { StoreOptions } from '#apps/images/open-store.ts'
import { BlobError } from '#core/blobs/index.ts'
import { CodedError } from '#core/errors/coded-error.ts'
import { acceptRelease, type SignedRelease, type VerifiedDirection } from '#core/release/index.ts'
import { nameInside } from './accounts.ts'
import { openDisk } from './disk/open-disk.ts'
import { type DiskToOpen, type OpenDisk, warnUnlessOver } from './launch-disk.ts'
import type { OpenReplicated } from './replica/replicated-overlay.ts'
import { type DeliveredDisk, type ServeOptions, serveDelivered } from './serve-delivered.ts'
import { type OverlayPlace, overlayPlace } from './vm/snapshots.ts'

export type DeliverErrorCode =
  /** This endpoint was enrolled before the site had release keys, so it cannot tell what they signed. */
  | 'DELIVER_NO_RELEASE_ROOT'
  /** The signed image has no application of the name that the workspace starts. */
  | 'DELIVER_NO_APPLICATION'

export class DeliverError extends CodedError<DeliverErrorCode> {}

export interface DeliverOptions extends ServeOptions {
  /** The endpoint's state: its identity, what it has seen of releases, its overlays and mounts. */
  readonly dir: string
  readonly cache: { readonly dir: string; readonly maximumBytes: number }
  readonly memoryBytes: number
  /** Nothing is written then, whatever the site allows. */
  readonly readOnly?: boolean
  readonly storeOptions: StoreOptions
  /** Release metadata of the site. */
  readonly fetch: ReleaseFetch
  /** What is written is sent to the data centre so often, where the site asks for that; absent: once a minute. */
  readonly replicaIntervalMs?: number
  /** Tells the person what they wait for. */
  readonly say?: (sentence: string) => void
}

/**
 * Makes what a launch of a streamed disk needs: what may be used is settled, the disk is opened, exported and mounted.
 *
 * INVARIANT I4: what the site directs to is used only if the release keys signed exactly that, and it is not older than
 * what this endpoint has accepted before. The floor is raised, durably, before anything is read.
 */
export function diskDeliverer(given: DeliverOptions): OpenDisk {
  return async (disk) => {
    const { signal } = disk
    const options = { ...given, warn: warnUnlessOver(given.warn, signal) }
    const release = await acceptedRelease(options, disk.direction, signal)
    const { name, contentVersion: version } = release
    // By person: what one wrote is no concern of the next who uses this machine.
    const overlayDir = join(options.dir, 'overlays', disk.personId)
    const place = overlayPlace(overlayDir, name, version)
    const overlay = options.readOnly === true ? 'read-only' : disk.overlay()
    const replicated = overlay === 'replicate' ? await replicaOf(options, disk, place) : undefined
    // From here on the key may be zeros.
    signal.throwIfAborted()
    const attached = await openDisk({
      reference: { name, version },
      manifestDigest: `sha256:${release.manifestDigest}`,
      stores: requireStores(disk.stores),
      storeOptions: options.storeOptions,
      key: disk.key,
      cache: options.cache,
      memoryBytes: options.memoryBytes,
      overlay,
      overlayDir,
      replicated,
      signal,
      warn: options.warn,
    })
    return serveDelivered(options, disk, { attached, overlay, place })
  }
}

/** What sends it is loaded where something is to be sent. */
async function replicaOf(
  { dir, replicaIntervalMs: intervalMs, say, warn }: DeliverOptions,
  disk: DiskToOpen,
  place: OverlayPlace,
): Promise<OpenReplicated> {
  const { replicatedOverlay } = await import('./replica/replicated-overlay.ts')
  const { personId, lease, signal } = disk
  const about = { dir, leaseId: lease.id, personId, scope: '', place, overlayNow: () => disk.overlay() }
  return replicatedOverlay({ ...about, intervalMs, say, warn, signal })
}

/**
 * What a direction leads to, when the release keys signed exactly that and it is not older than what was accepted here
 * before. The floor is raised, durably, when this resolves.
 *
 * @throws {ReleaseError} {DeliverError} DELIVER_NO_RELEASE_ROOT
 */
export async function acceptedRelease(
  { dir, fetch }: Pick<DeliverOptions, 'dir' | 'fetch'>,
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

/** @throws {BlobError} BLOB_BAD_STORE when there is none */
export function requireStores([first, ...others]: readonly string[]): readonly [string, ...string[]] {
  if (first !== undefined) return [first, ...others]
  throw new BlobError('BLOB_BAD_STORE', 'the site named no store for this image', {
    remedy: 'Ask an admin to register the image with the address of its store.',
  })
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
  person: Pick<SandboxRequest, 'user' | 'display' | 'network' | 'onOutput'>,
): Promise<number> {
  const { applications } = manifest
  const known =
    application !== undefined && Object.hasOwn(applications, application)
      ? applications[application]
      : undefined
  const [command, ...args] = known?.command ?? []
  const root = served.record.mount?.dir
  if (command === undefined || root === undefined) {
    throw new DeliverError(
      'DELIVER_NO_APPLICATION',
      `the signed image has no application ${application ?? 'that the workspace names'}`,
      {
        remedy: `It has: ${Object.keys(applications).join(', ') || 'none'}. An admin names one in the workspace.`,
      },
    )
  }
  const user = { ...person.user, name: nameInside(person.user.name) }
  const { exitCode } = await runInSandbox({
    root,
    command,
    args,
    env: { LANG: 'C.UTF-8' },
    home: { path: `/home/${user.name}`, from: 'disk' },
    ...person,
    user,
    signal,
  })
  return exitCode
}
