import { setTimeout as sleep } from 'node:timers/promises'
import { NbdServer } from '#adapters/nbd-server/index.ts'
import { endsWithin, type QemuVm, startQemu } from '#adapters/vm-qemu/index.ts'
import type { DisplayTerms } from '#core/agent/endpoint-messages.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { ReplaceableDevice } from '#core/block/replaceable.ts'
import type { VmConfig } from '#core/vm/index.ts'
import { VmDisplay } from './display.ts'
import { LocalVmError, type VmState } from './vm-control.ts'

export interface LocalVmOptions {
  /** INVARIANT I1: from a manifest that the release keys signed. */
  readonly config: VmConfig
  readonly disk: Pick<BlockDevice, 'sizeBytes' | 'blockSize'>
  /** A folder for QEMU alone; made and removed. */
  readonly machineDir: string
  readonly description: string
  /** A clock that goes on while this machine sleeps, ms. */
  readonly steadyMs: () => number
  readonly warn: (error: unknown) => void
}

/** How long what the guest has under way may take to be done when its key is taken back. */
const haltMs = 1_500
/** How long a guest may take to shut down. */
const shutDownMs = 60_000
const [firstRetryMs, longestRetryMs] = [500, 10_000]

/**
 * A virtual machine of this machine: QEMU, its disk and its display. It begins when it is first given its disk. That
 * can be taken away, which pauses it, and given again, after which it goes on where it was.
 *
 * Lifetime: until `ended`; whoever made it disposes of it, which kills it.
 */
export class LocalVm implements AsyncDisposable {
  /** Resolves when QEMU has ended, whatever ended it. */
  readonly ended: Promise<void>
  readonly display: VmDisplay
  readonly #options: LocalVmOptions
  readonly #device: ReplaceableDevice
  readonly #qemu: QemuVm
  #state: VmState = 'running'
  /** It was suspended when its disk was taken away, and shall be when that is back. */
  #staysSuspended = false
  /** What it was when work on its disk had it paused, and is again afterwards. */
  #heldAs: 'running' | 'suspended' | undefined
  #retryMs = firstRetryMs

  private constructor(options: LocalVmOptions, device: ReplaceableDevice, server: NbdServer, qemu: QemuVm) {
    this.#options = options
    this.#device = device
    this.#qemu = qemu
    const { steadyMs, warn } = options
    this.display = new VmDisplay({ source: qemu.displaySocket, steadyMs, warn })
    this.ended = this.#end(server)
    qemu.monitor.on('event', (name) => {
      if (name === 'BLOCK_IO_ERROR') void this.#retry()
    })
  }

  /**
   * Starts it on a disk that can be written.
   *
   * @throws {VmError}
   */
  static async start(
    options: LocalVmOptions,
    disk: BlockDevice,
    terms: DisplayTerms | undefined,
    signal: AbortSignal,
  ): Promise<LocalVm> {
    const device = new ReplaceableDevice(options.disk)
    device.use(disk)
    const server = new NbdServer({
      exports: [{ name: 'disk', description: options.description, device }],
      onDropped: options.warn,
    })
    try {
      const qemu = await startQemu({
        config: options.config,
        dir: options.machineDir,
        serveDisk: (stream) => void server.serve(stream),
        warn: options.warn,
        signal,
      })
      const vm = new LocalVm(options, device, server, qemu)
      vm.display.apply(terms)
      return vm
    } catch (error) {
      await server.close()
      throw error
    }
  }

  get state(): VmState {
    return this.#state
  }

  get accelerator(): 'kvm' | 'tcg' {
    return this.#qemu.accelerator
  }

  get pid(): number {
    return this.#qemu.pid
  }

  /** What its disk holds now. */
  async peek(offset: number, length: number): Promise<Uint8Array> {
    return this.#device.read(BigInt(offset), length)
  }

  /** @throws {LocalVmError} LOCAL_VM_WITHDRAWN, LOCAL_VM_BUSY; {VmError} VM_GONE, VM_SILENT */
  async suspend(): Promise<void> {
    this.#requireFree()
    await this.#pause()
  }

  /** @throws {LocalVmError} LOCAL_VM_WITHDRAWN, LOCAL_VM_BUSY; {VmError} VM_GONE, VM_SILENT */
  async resume(): Promise<void> {
    this.#requireFree()
    await this.#continue()
  }

  /**
   * Has it let go of its disk: its screen is closed and it is paused at once.
   *
   * @returns whether it could be paused: otherwise it must not live on
   */
  async pauseForGood(): Promise<boolean> {
    this.display.apply(undefined)
    if (this.#state === 'ended') return false
    this.#staysSuspended ||= (this.#heldAs ?? this.#state) === 'suspended'
    this.#state = 'withdrawn'
    const paused = this.#qemu.monitor.pause().then(
      () => true,
      () => false,
    )
    return Promise.race([paused, sleep(haltMs, false, { ref: false })])
  }

  /** From now on whatever it still reads or writes fails, and pauses it. */
  withdrawDisk(reason: Error): void {
    this.#device.withdraw(reason)
  }

  /** Gives it the same disk again; it goes on where it was, unless it was suspended then. */
  async giveAgain(disk: BlockDevice, terms: DisplayTerms | undefined): Promise<void> {
    this.#device.use(disk)
    this.display.apply(terms)
    this.#state = this.#staysSuspended ? 'suspended' : 'running'
    this.#staysSuspended = false
    if (this.#state === 'running') await this.#qemu.monitor.continue()
  }

  /**
   * Runs `work` while it is paused and nothing of its disk is under way, and has it go on as it was.
   *
   * @throws {LocalVmError} LOCAL_VM_WITHDRAWN, LOCAL_VM_BUSY; what `work` throws
   */
  async whilePaused<T>(work: () => Promise<T>): Promise<T> {
    this.#requireFree()
    const before = this.#state === 'running' ? 'running' : 'suspended'
    this.#heldAs = before
    try {
      await this.#pause()
      return await work()
    } finally {
      this.#heldAs = undefined
      if (before === 'running' && this.#state === 'suspended') await this.#continue()
    }
  }

  /** Puts another content of the same size into its disk, and starts it anew: what is in its memory fits no more. */
  async restartOn(disk: BlockDevice): Promise<void> {
    this.#device.use(disk)
    await this.#qemu.monitor.reset()
  }

  /**
   * Asks the guest to shut down, and waits.
   *
   * @param force ends it as if the power failed
   * @throws {LocalVmError} LOCAL_VM_STILL_RUNNING
   */
  async shutDown(force: boolean, patienceMs: number = shutDownMs): Promise<void> {
    if (this.#state === 'ended') return
    if (force) await this.#qemu.monitor.quit().catch(() => {})
    else {
      if (this.#state === 'suspended') await this.resume()
      await this.#qemu.monitor.pressPower()
    }
    if (await endsWithin(this.#qemu, force ? haltMs : patienceMs)) return await this.ended
    if (force) return await this[Symbol.asyncDispose]()
    throw new LocalVmError('LOCAL_VM_STILL_RUNNING', 'the guest did not shut down by itself', {
      remedy: 'Shut it down from within, or stop it with --force, as if its power failed.',
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#qemu.kill()
    await this.ended
  }

  async #end(server: NbdServer): Promise<void> {
    const { code, log } = await this.#qemu.exited
    if (code !== 0 && log !== '') this.#options.warn(new Error(`QEMU ended with ${code}: ${log}`))
    this.#state = 'ended'
    await this.display[Symbol.asyncDispose]()
    await server.close()
  }

  async #pause(): Promise<void> {
    this.#requireDisk()
    await this.#qemu.monitor.pause().catch((error: unknown) => {
      // One that stands still after all, when its disk is back, goes on at once: nobody waits for that any more.
      if (this.#state === 'running') this.#qemu.monitor.continue().catch(() => {})
      throw error
    })
    // Its disk may have been taken away meanwhile: then it stays so.
    this.#requireDisk()
    this.#state = 'suspended'
  }

  async #continue(): Promise<void> {
    this.#requireDisk()
    this.#state = 'running'
    await this.#qemu.monitor.continue()
  }

  #requireFree(): void {
    if (this.#heldAs === undefined) return
    throw new LocalVmError('LOCAL_VM_BUSY', 'a snapshot of it is being made, or put back', {
      remedy: 'Try again when that is done.',
    })
  }

  #requireDisk(): void {
    if (this.#state === 'running' || this.#state === 'suspended') return
    throw new LocalVmError('LOCAL_VM_WITHDRAWN', 'what it held was taken back', {
      remedy: 'Launch its workspace again.',
    })
  }

  /** A disk that failed may be there again: its stores were away, or there was no room. QEMU tries again what failed. */
  async #retry(): Promise<void> {
    const waitMs = this.#retryMs
    this.#retryMs = Math.min(longestRetryMs, waitMs * 2)
    await sleep(waitMs, undefined, { ref: false })
    if (this.#state !== 'running' || this.#heldAs !== undefined) return
    await this.#qemu.monitor.continue().catch(this.#options.warn)
    await sleep(longestRetryMs, undefined, { ref: false })
    this.#retryMs = firstRetryMs
  }
}
