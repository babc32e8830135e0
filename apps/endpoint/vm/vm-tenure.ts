import { setTimeout as sleep } from 'node:timers/promises'
import type { LeaseStats } from '#core/api/lease.ts'
import { isKept } from '#core/trust/words.ts'
import type { ReplicaStats } from '../disk/disk-stats.ts'
import type { OpenDisk as AttachedDisk, OverlayMode } from '../disk/open-disk.ts'
import type { DiskToOpen, OpenedDisk } from '../launch-disk.ts'
import { leaseStatsOf } from '../serve-delivered.ts'
import { type CopyProgress, completeCopy } from './complete-copy.ts'
import type { LocalVm } from './local-vm.ts'
import {
  forgetOverlay,
  listSnapshots,
  type OverlayPlace,
  overlayStamp,
  removeSnapshot,
  returnToSnapshot,
  type Snapshot,
  takeSnapshot,
} from './snapshots.ts'
import { LocalVmError, type SnapshotAct } from './vm-control.ts'

export interface TenureOptions {
  readonly vm: LocalVm
  readonly disk: Pick<DiskToOpen, 'signal' | 'overlay' | 'lease'>
  readonly attached: AttachedDisk
  /** As it was opened. */
  readonly overlay: OverlayMode
  readonly place: OverlayPlace
  /** Opens the disk once more, as long as the lease stands. */
  readonly attach: () => Promise<AttachedDisk>
  readonly backgroundBytesPerSecond: number | undefined
  readonly warn: (error: unknown) => void
  /** The key is gone and the VM is paused: what becomes of it. */
  readonly onWithdrawn: (stamp: string) => void
}

/** What may be written out of an overlay that is kept, when its key is taken back. */
const farewellMs = 2_000
const idleTickMs = 5_000

/** A VM under one lease, from when it has its disk until that is taken back. */
export class VmTenure implements OpenedDisk {
  readonly #options: TenureOptions
  #attached: AttachedDisk
  #copying = new AbortController()
  #copied: Promise<void>
  #progress: CopyProgress
  /** One after the other: they share the folder of a snapshot that is not finished. */
  #acts: Promise<unknown> = Promise.resolve()
  /** The overlay is not the one that belongs to what is in the guest's memory. */
  #isReturning = false
  #over: Promise<void> | undefined

  constructor(options: TenureOptions) {
    this.#options = options
    this.#attached = options.attached
    this.#progress = { doneBytes: 0, sizeBytes: Number(options.attached.device.sizeBytes), isComplete: false }
    this.#copied = this.#complete()
    const { vm, disk } = options
    disk.lease.onWord = () => {
      if (!disk.signal.aborted) vm.display.apply(disk.lease.display)
    }
  }

  get progress(): CopyProgress {
    return this.#progress
  }

  async run(): Promise<void> {
    const { vm, disk } = this.#options
    const idle = setInterval(() => this.#endWhenIdle(), idleTickMs)
    disk.signal.addEventListener('abort', () => clearInterval(idle), { once: true })
    try {
      await vm.ended
    } finally {
      clearInterval(idle)
    }
  }

  /** How far the data centre is behind what was written; undefined where nothing is sent there. */
  get replica(): ReplicaStats | undefined {
    return this.#attached.replica?.status()
  }

  stats(): LeaseStats {
    return leaseStatsOf(this.#attached)
  }

  /** @throws {SnapshotError} {LocalVmError} LOCAL_VM_KEEPS_NOTHING, LOCAL_VM_WITHDRAWN */
  async snapshot(act: SnapshotAct, name: string): Promise<readonly Snapshot[]> {
    const done = this.#acts.then(() => this.#act(act, name))
    this.#acts = done.catch(() => {})
    return done
  }

  async #act(act: SnapshotAct, name: string): Promise<readonly Snapshot[]> {
    const { place, vm, overlay } = this.#options
    if (!isKept(overlay)) {
      throw new LocalVmError('LOCAL_VM_KEEPS_NOTHING', 'what is written in this VM is discarded at its end', {
        remedy: 'The policy decides that: ask an admin.',
      })
    }
    if (act === 'take') {
      await vm.whilePaused(async () => {
        await this.#attached.device.flush?.()
        await takeSnapshot(place, name, new Date())
      })
    } else if (act === 'return') await vm.whilePaused(() => this.#return(name))
    else if (act === 'remove') await removeSnapshot(place, name)
    return listSnapshots(place)
  }

  /** Takes the disk back: however it ends, the key is gone when this resolves. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over ??= this.#takeBack()
    await this.#over
  }

  #endWhenIdle(): void {
    const { vm, disk } = this.#options
    const { idleMinutes } = disk.lease.display?.obligations ?? {}
    if (idleMinutes === undefined || vm.display.idleMs < idleMinutes * 60_000) return
    disk.lease.end({ code: 'SESSION_IDLE', reason: `Nobody used it for ${idleMinutes} min` })
  }

  async #return(name: string): Promise<void> {
    const { place, vm, attach, disk } = this.#options
    const reason = new Error('the VM returns to a snapshot')
    // What fails before costs nothing: the VM goes on where it was.
    await returnToSnapshot(place, name, async () => {
      disk.signal.throwIfAborted()
      this.#isReturning = true
      vm.withdrawDisk(reason)
      this.#copying.abort()
      await this.#attached.withdraw(reason)
    })
    this.#attached = await attach()
    disk.signal.throwIfAborted()
    this.#copying = new AbortController()
    this.#copied = this.#complete()
    await vm.restartOn(this.#attached.device)
    this.#isReturning = false
  }

  async #takeBack(): Promise<void> {
    const { vm, disk, overlay, place, warn, onWithdrawn } = this.#options
    const { signal } = disk
    const reason = signal.aborted ? (signal.reason as Error) : new Error('the disk was closed')
    disk.lease.onWord = undefined
    this.#copying.abort()
    const keeps = isKept(overlay) && isKept(disk.overlay())
    const mayWait = keeps && signal.aborted && disk.lease.notice?.code === 'TRUST_LOST'
    const halting = vm.pauseForGood()
    const isPaused = keeps ? await this.#writeOut(halting) : false
    if (!signal.aborted) await this.#attached.replica?.finish()
    // From here on the key is gone; what is under way fails.
    vm.withdrawDisk(reason)
    if (!mayWait) await vm[Symbol.asyncDispose]()
    await this.#attached.withdraw(reason).catch(warn)
    await this.#acts
    // What came to it last may have opened the disk once more.
    await this.#attached.withdraw(reason).catch(warn)
    await this.#copied
    // What hung in a disk that was away has failed by now.
    const waits = mayWait && !this.#isReturning && (isPaused || (await vm.pauseForGood()))
    if (waits) onWithdrawn(await overlayStamp(place))
    else await vm[Symbol.asyncDispose]()
    if (isKept(overlay) && !keeps) await forgetOverlay(place).catch(warn)
  }

  /** As far as it takes no longer than `farewellMs`. @returns whether the guest stands still */
  async #writeOut(halting: Promise<boolean>): Promise<boolean> {
    const until = performance.now() + farewellMs
    const isPaused = await halting
    const flushed = this.#attached.device.flush?.().catch(this.#options.warn)
    await Promise.race([flushed, sleep(until - performance.now(), undefined, { ref: false })])
    return isPaused
  }

  async #complete(): Promise<void> {
    const attached = this.#attached
    const { backgroundBytesPerSecond: bytesPerSecond, warn } = this.#options
    await completeCopy({
      copy: attached.copy,
      sizeBytes: Number(attached.device.sizeBytes),
      fetched: () => attached.stats().bytesFetched,
      percentLocal: () => attached.stats().percentLocal ?? 0,
      bytesPerSecond,
      onProgress: (progress) => {
        this.#progress = progress
      },
      signal: this.#copying.signal,
    }).catch(warn)
  }
}
