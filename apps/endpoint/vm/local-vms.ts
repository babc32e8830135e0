import { randomBytes } from 'node:crypto'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { identify } from '#adapters/mount-nbd/index.ts'
import type { ReleaseFetch } from '#adapters/releases-tuf/index.ts'
import type { StoreOptions } from '#apps/images/open-store.ts'
import type { LeaseStats } from '#core/api/lease.ts'
import type { VmDelivery } from '#core/api/person.ts'
import { pausedGraceMs } from '#core/lease/index.ts'
import type { SignedRelease } from '#core/release/index.ts'
import { isKept } from '#core/trust/words.ts'
import { acceptedRelease, requireStores } from '../deliver-disk.ts'
import { type OpenDisk as AttachedDisk, openDisk } from '../disk/open-disk.ts'
import type { EndpointAgent } from '../endpoint-agent.ts'
import { type DiskEnd, type DiskToOpen, launchDisk, type OpenedDisk, warnUnlessOver } from '../launch-disk.ts'
import type { OpenReplicated } from '../replica/replicated-overlay.ts'
import { LocalVm } from './local-vm.ts'
import { type OverlayPlace, overlayPlace, overlayStamp, recoverOverlay } from './snapshots.ts'
import { LocalVmError, serveVmControl, type VmStatusView } from './vm-control.ts'
import { makeVmFolder, registerVm, unregisterVm, type VmFolder, type VmRecord } from './vm-record.ts'
import { VmTenure } from './vm-tenure.ts'

export interface LocalVmsOptions {
  /** The endpoint's state: its identity, what it has seen of releases, copies of images, what was written. */
  readonly dir: string
  /** Where VMs are registered; see `runDirectory`. */
  readonly runDir: string
  /** Unpacked chunks of each VM's disk that stay in memory. */
  readonly memoryBytes: number
  readonly storeOptions: StoreOptions
  readonly fetch: ReleaseFetch
  /** For completing copies, bytes a second from stores, and as many to the site; absent: what is left beside what is read. */
  readonly backgroundBytesPerSecond?: number | undefined
  /** What is written is sent to the data centre so often, where the site asks for that; absent: once a minute. */
  readonly replicaIntervalMs?: number
  /** Tells the person what they wait for. */
  readonly say?: (sentence: string) => void
  /** How long a VM whose key was taken back may wait in memory for another one, `pausedGraceMs` at most. */
  readonly graceMs?: number
  /** Launches a workspace again for whoever is signed in here; absent: others do. */
  readonly relaunch?: (workspaceId: string) => Promise<void>
  readonly warn: (error: unknown) => void
}

/** One launch of a VM, as the site answered it. */
export interface VmLaunch {
  readonly delivery: VmDelivery
  readonly nonce: string
  /** On the agent's clock, from before it was asked for. */
  readonly askedAt: number
  /** Who may look at its screen, besides this process's account. */
  readonly viewer?: { readonly uid: number; readonly gid: number; readonly path: string } | undefined
  /** It runs, and its screen can be looked at. */
  readonly onOpen: (open: OpenVm) => void
}

export interface OpenVm {
  readonly record: VmRecord
  readonly vm: LocalVm
  stats(): LeaseStats
}

interface Kept {
  readonly vm: LocalVm
  /** Changes with where its screen is shown. */
  record: VmRecord
  readonly folder: VmFolder
  readonly manifestDigest: string
  tenure: VmTenure | undefined
  /** While it waits without a key. */
  waiting: { readonly stamp: string; readonly timer: NodeJS.Timeout; readonly off: () => void } | undefined
  /** Tells the site that what it said to stand still in memory does so no more. */
  unpaused: (() => void) | undefined
}

/** Beyond what an image has: a version before it may stay until there is no room. */
const copySlack = 1.25
const copyRoomBytes = 67_108_864
const graceTickMs = 500

/**
 * The local VMs of one process. Each is launched under a lease; one whose key was taken back because trust was lost
 * waits, paused and without a key, until its person launches it again or its time of grace is over.
 *
 * Lifetime: whoever makes it disposes of it, which ends all of them.
 */
export class LocalVms implements AsyncDisposable {
  readonly #options: LocalVmsOptions
  /** By person and workspace. */
  readonly #kept = new Map<string, Kept>()
  /** Ended ones, until nothing is left of them. */
  readonly #leaving = new Set<Promise<void>>()

  constructor(options: LocalVmsOptions) {
    this.#options = options
  }

  /** The VM of a person's workspace that waits for a key, if there is one. */
  waiting(personId: string, workspaceId: string): LocalVm | undefined {
    const kept = this.#kept.get(keyOf(personId, workspaceId))
    return kept?.waiting === undefined ? undefined : kept.vm
  }

  /**
   * From a delivery to the end of its lease.
   *
   * @throws what `launchDisk` throws; {LocalVmError} LOCAL_VM_NOT_DESCRIBED; {VmError}
   */
  async run(agent: EndpointAgent, launch: VmLaunch): Promise<DiskEnd> {
    try {
      return await launchDisk(agent, launch, (disk) => this.#open(agent, launch, disk))
    } finally {
      await Promise.all(this.#leaving)
    }
  }

  /** Asks every guest to shut down, so that it writes what it has not written yet, and waits for those that do. Never fails. */
  async shutDown(patienceMs: number): Promise<void> {
    const running = [...this.#kept.values()].filter(({ waiting }) => waiting === undefined)
    await Promise.all(running.map(({ vm }) => vm.shutDown(false, patienceMs).catch(() => {})))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#kept.values()]
    await Promise.all(all.map(({ vm }) => vm[Symbol.asyncDispose]()))
    await Promise.all(this.#leaving)
  }

  async #open(agent: EndpointAgent, launch: VmLaunch, disk: DiskToOpen): Promise<OpenedDisk> {
    const release = await acceptedRelease(this.#options, disk.direction, disk.signal)
    const { workspace } = launch.delivery.session
    const place = overlayPlace(
      join(this.#options.dir, 'vms', disk.personId, workspace.id),
      release.name,
      release.contentVersion,
    )
    const kept = await this.#takeWaiting(keyOf(disk.personId, workspace.id), release, disk, place)
    // Only for one that waited its overlay is certainly whole.
    if (kept === undefined) await recoverOverlay(place)
    const overlay = disk.overlay()
    const attach = (): Promise<AttachedDisk> => this.#attach(workspace.id, disk, release, place)
    let attached: AttachedDisk | undefined
    let open = kept
    try {
      disk.signal.throwIfAborted()
      attached = await attach()
      if (attached.replica?.isTaken === true) {
        // Another device went on with its disk: what is in its memory fits no more.
        await open?.vm[Symbol.asyncDispose]()
        open = undefined
      }
      const running = open ?? (await this.#begin(agent, launch, disk, release, attached))
      open = running
      const tenure = new VmTenure({
        vm: running.vm,
        disk,
        attached,
        overlay,
        place,
        attach,
        backgroundBytesPerSecond: this.#options.backgroundBytesPerSecond,
        warn: warnUnlessOver(this.#options.warn, disk.signal),
        onWithdrawn: (stamp) => this.#wait(agent, running, stamp, disk.lease),
      })
      running.tenure = tenure
      if (running === kept) {
        await this.#showOn(running, launch)
        await running.vm.giveAgain(attached.device, disk.lease.display)
        forgetPause(running)
      }
      // Over meanwhile: nothing is shown, nothing stays.
      if (disk.signal.aborted) await tenure[Symbol.asyncDispose]()
      disk.signal.throwIfAborted()
      launch.onOpen({ record: running.record, vm: running.vm, stats: () => tenure.stats() })
      return tenure
    } catch (error) {
      await open?.tenure?.[Symbol.asyncDispose]()
      await attached?.withdraw(error as Error).catch(this.#options.warn)
      // What could not be opened now may be opened the next time; what runs under no lease ends.
      if (open?.vm.state !== 'withdrawn') await open?.vm[Symbol.asyncDispose]()
      else if (open.waiting === undefined) this.#wait(agent, open, await overlayStamp(place), disk.lease)
      throw error
    }
  }

  /** One that waits goes on only where nothing has changed; otherwise it ends here. */
  async #takeWaiting(
    key: string,
    release: SignedRelease,
    disk: DiskToOpen,
    place: OverlayPlace,
  ): Promise<Kept | undefined> {
    const kept = this.#kept.get(key)
    if (kept === undefined) return undefined
    const { waiting } = kept
    clearInterval(waiting?.timer)
    waiting?.off()
    kept.waiting = undefined
    const fits =
      waiting !== undefined &&
      kept.manifestDigest === release.manifestDigest &&
      isKept(disk.overlay()) &&
      waiting.stamp === (await overlayStamp(place))
    if (fits) return kept
    await kept.vm[Symbol.asyncDispose]()
    return undefined
  }

  #wait(agent: EndpointAgent, kept: Kept, stamp: string, lease: DiskToOpen['lease']): void {
    const end = async (): Promise<void> => {
      await kept.vm[Symbol.asyncDispose]().catch(this.#options.warn)
      forgetPause(kept)
    }
    const until = agent.steadyMs() + (this.#options.graceMs ?? pausedGraceMs)
    // A timer stands still while this machine sleeps; whoever wakes it finds nothing in memory whose time is over.
    const timer = setInterval(() => {
      if (agent.steadyMs() < until) return
      clearInterval(timer)
      void end()
    }, graceTickMs)
    kept.tenure = undefined
    kept.unpaused ??= lease.pause()
    kept.waiting = { stamp, timer, off: agent.leases.onNothingHeld(end) }
  }

  async #attach(
    workspaceId: string,
    disk: DiskToOpen,
    release: SignedRelease,
    place: OverlayPlace,
  ): Promise<AttachedDisk> {
    const { dir, memoryBytes, storeOptions } = this.#options
    const warn = warnUnlessOver(this.#options.warn, disk.signal)
    const overlay = disk.overlay()
    const replicated = overlay === 'replicate' ? await this.#replicaOf(workspaceId, disk, place) : undefined
    // A copy of its own for each family: nothing else makes room in it, whatever else this machine fetches.
    const cache = { dir: join(dir, 'copies', release.name), maximumBytes: Number.MAX_SAFE_INTEGER }
    const attached = await openDisk({
      reference: { name: release.name, version: release.contentVersion },
      manifestDigest: `sha256:${release.manifestDigest}`,
      stores: requireStores(disk.stores),
      storeOptions,
      key: disk.key,
      cache,
      memoryBytes,
      overlay,
      replicated,
      overlayDir: join(place.dir, '..', '..'),
      signal: disk.signal,
      warn,
    })
    void attached.pin()
    cache.maximumBytes = Math.ceil(attached.manifest.storedBytes * copySlack) + copyRoomBytes
    return attached
  }

  /** What sends it is loaded where something is to be sent. */
  async #replicaOf(scope: string, disk: DiskToOpen, place: OverlayPlace): Promise<OpenReplicated> {
    const { replicatedOverlay } = await import('../replica/replicated-overlay.ts')
    const { dir, replicaIntervalMs: intervalMs, backgroundBytesPerSecond, say, warn } = this.#options
    const { personId, lease, signal } = disk
    const about = { dir, leaseId: lease.id, personId, scope, place, overlayNow: () => disk.overlay() }
    return replicatedOverlay({
      ...about,
      intervalMs,
      bytesPerSecond: backgroundBytesPerSecond,
      say,
      warn,
      signal,
    })
  }

  async #begin(
    agent: EndpointAgent,
    launch: VmLaunch,
    disk: DiskToOpen,
    release: SignedRelease,
    attached: AttachedDisk,
  ): Promise<Kept> {
    const { runDir, warn } = this.#options
    const { workspace, person } = launch.delivery.session
    const { vm: config, name, version } = attached.manifest
    if (config === undefined) {
      throw new LocalVmError(
        'LOCAL_VM_NOT_DESCRIBED',
        `the signed image ${name}:${version} is no virtual machine`,
        {
          remedy: 'Have it imported with --vm, signed and published anew.',
        },
      )
    }
    const folder = await makeVmFolder(runDir, randomBytes(4).toString('hex'))
    try {
      const { device, description } = attached
      const clock = { steadyMs: () => agent.steadyMs() }
      const options = { config, disk: device, machineDir: folder.machine, description, warn, ...clock }
      const vm = await LocalVm.start(options, device, disk.lease.display, disk.signal)
      const record: VmRecord = {
        id: folder.path.slice(-8),
        workspace: { id: workspace.id, name: workspace.name },
        person: { id: person.id, name: person.name },
        image: `${name}:${version}`,
        pid: process.pid,
        startTime: (await identify(process.pid))?.startTime ?? '',
        display: folder.display,
        uid: process.getuid?.() ?? 0,
        since: new Date().toISOString(),
      }
      const { manifestDigest } = release
      const kept: Kept = {
        vm,
        record,
        folder,
        manifestDigest,
        tenure: undefined,
        waiting: undefined,
        unpaused: undefined,
      }
      await this.#show(keyOf(disk.personId, workspace.id), kept, launch)
      return kept
    } catch (error) {
      await unregisterVm(folder)
      throw error
    }
  }

  /** Its screen is for whoever launched it last. */
  async #showOn(kept: Kept, { viewer }: VmLaunch): Promise<void> {
    const { vm, folder } = kept
    const own = { display: folder.display, uid: process.getuid?.() ?? 0 }
    const record = {
      ...kept.record,
      ...(viewer === undefined ? own : { display: viewer.path, uid: viewer.uid }),
    }
    await vm.display.listen(record.display, viewer)
    await registerVm(folder, record)
    kept.record = record
  }

  /** Others of this machine see it, until it ends. */
  async #show(key: string, kept: Kept, launch: VmLaunch): Promise<void> {
    const { vm, folder } = kept
    try {
      const control = await serveVmControl(folder.control, this.#controlOf(kept))
      this.#kept.set(key, kept)
      const leaving = vm.ended
        .then(() => this.#forget(key, kept, control))
        .catch(this.#options.warn)
        .finally(() => this.#leaving.delete(leaving))
      void vm.ended.then(() => this.#leaving.add(leaving))
      await this.#showOn(kept, launch)
    } catch (error) {
      await vm[Symbol.asyncDispose]()
      throw error
    }
  }

  async #forget(key: string, kept: Kept, control: Server): Promise<void> {
    clearInterval(kept.waiting?.timer)
    kept.waiting?.off()
    if (this.#kept.get(key) === kept) this.#kept.delete(key)
    forgetPause(kept)
    control.close()
    await unregisterVm(kept.folder)
  }

  #controlOf(kept: Kept): Parameters<typeof serveVmControl>[1] {
    const { vm } = kept
    return {
      status: async () => statusOf(kept),
      suspend: () => vm.suspend(),
      resume: () => vm.resume(),
      relaunch: async () => {
        const { relaunch } = this.#options
        if (kept.waiting === undefined || relaunch === undefined) {
          throw new LocalVmError('LOCAL_VM_NOT_LAUNCHED_HERE', 'this VM does not wait to be launched again')
        }
        await relaunch(kept.record.workspace.id)
      },
      stop: (force) => (kept.waiting === undefined ? vm.shutDown(force) : vm[Symbol.asyncDispose]()),
      snapshot: async (act, name) => {
        if (kept.tenure !== undefined) return kept.tenure.snapshot(act, name)
        throw new LocalVmError('LOCAL_VM_WITHDRAWN', 'what it held was taken back', {
          remedy: 'Launch its workspace again.',
        })
      },
    }
  }
}

function keyOf(personId: string, workspaceId: string): string {
  return `${personId} ${workspaceId}`
}

function forgetPause(kept: Kept): void {
  kept.unpaused?.()
  kept.unpaused = undefined
}

const nothing: LeaseStats = { bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 0 }

function statusOf({ vm, tenure }: Kept): VmStatusView {
  const replica = tenure?.replica
  return {
    state: vm.state,
    accelerator: vm.accelerator,
    viewers: vm.display.viewers,
    copy: tenure?.progress ?? { doneBytes: 0, sizeBytes: 0, isComplete: false },
    stats: tenure?.stats() ?? nothing,
    ...(replica && { replica }),
  }
}
