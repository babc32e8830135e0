import { randomBytes, randomUUID } from 'node:crypto'
import type { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import type { Mount } from '#adapters/mount-nbd/index.ts'
import { identify } from '#adapters/mount-nbd/process-id.ts'
import { NbdServer } from '#adapters/nbd-server/index.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import type { NbdExport } from '#core/nbd/index.ts'
import { chooseMount, type ExportedPartition, partitionsOf } from './choose-mount.ts'
import { type Detached, serveControl } from './control.ts'
import type { DiskStats } from './disk-stats.ts'
import { type DiskFolder, type DiskRecord, folderOf, register, saveRecord, unregister } from './record.ts'

export interface ServeDiskOptions {
  /** Belongs to the caller, who disposes of it in `onDetach`. */
  readonly device: BlockDevice
  readonly name: string
  readonly description: string
  /** `vhd`: the whole disk is exported as the bytes of a fixed VHD. Partitions and mounts do not change. */
  readonly format: 'raw' | 'vhd'
  /** Where attached disks are registered; see `runDirectory`. */
  readonly runDir: string
  /** The unix socket to serve on; absent: one in the disk's own folder. Only its owner can use it. */
  readonly socket?: string
  /** Serves other machines, too; they must begin TLS. Port 0 picks a free one. */
  readonly tcp?: { readonly address: string; readonly port: number }
  /** Listening sockets that were handed over by whoever started the process. Other than unix sockets need `tls`. */
  readonly descriptors?: readonly number[]
  /** One client that is connected already. The disk is detached when it leaves. */
  readonly stream?: Duplex
  /** For `tcp` and `descriptors`; asked anew for each connection. */
  readonly tls?: () => TlsOptions
  readonly mount?: {
    readonly dir: string
    /** Absent: the only or the largest one with a file system of Linux, or the whole disk. */
    readonly partition?: number
    readonly readOnly: boolean
  }
  readonly stats: () => DiskStats
  /** Called once, when nothing uses the device any more. */
  readonly onDetach?: () => Promise<void>
  /** Told of what goes wrong without ending anything: a client that was dropped, a flush that failed. */
  readonly warn: (error: unknown) => void
  /** Detaches by force. */
  readonly signal?: AbortSignal
}

/**
 * Exports a disk by NBD, mounts it when that is asked for, and lets other processes list it, ask for its figures and
 * detach it. The whole disk is the default export; partitions are `p1`, `p2` and so on.
 *
 * @throws {MountError} {DiskError} {NbdServerError} nothing is left of it then; `onDetach` was called
 */
export async function serveDisk(options: ServeDiskOptions): Promise<ServedDisk> {
  const disk = await ServedDisk.register(options).catch(async (error: unknown) => {
    await options.onDetach?.()
    throw error
  })
  try {
    await disk.open()
    return disk
  } catch (error) {
    await disk.detach(true)
    throw error
  }
}

/** What VHD counts time from. */
const vhdEpochMs = Date.UTC(2000, 0, 1)

/** A disk that is attached. Lifetime: until `ended`; whoever serves it disposes of it, which detaches by force. */
export class ServedDisk implements AsyncDisposable {
  /** Resolves when it is detached, whoever asked for it. */
  readonly ended: Promise<Detached>
  readonly #options: ServeDiskOptions
  readonly #folder: DiskFolder
  readonly #partitions: readonly ExportedPartition[]
  readonly #server: NbdServer
  readonly #resolveEnded: (how: Detached) => void
  #record: DiskRecord
  #control: Server | undefined
  #mount: Mount | undefined
  #detaching: Promise<Detached> | undefined

  private constructor(
    options: ServeDiskOptions,
    folder: DiskFolder,
    record: DiskRecord,
    partitions: readonly ExportedPartition[],
    exports: readonly NbdExport[],
  ) {
    this.#options = options
    this.#folder = folder
    this.#record = record
    this.#partitions = partitions
    this.#server = new NbdServer({ exports, onDropped: options.warn })
    const { promise, resolve } = Promise.withResolvers<Detached>()
    this.ended = promise
    this.#resolveEnded = resolve
  }

  /** Used by `serveDisk` only. */
  static async register(options: ServeDiskOptions): Promise<ServedDisk> {
    const { device, runDir, signal, warn } = options
    signal?.throwIfAborted()
    // A table that cannot be read does not keep the disk from being looked at.
    const partitions = await partitionsOf(device).catch((error: unknown) => {
      warn(error)
      return []
    })
    const record = await recordOf(options)
    const exports = await exportsOf(options, record, partitions)
    return new ServedDisk(options, await register(runDir, record), record, partitions, exports)
  }

  /** Used by `serveDisk` only. */
  async open(): Promise<void> {
    const { descriptors = [], stream, mount, signal, stats } = this.#options
    const control = { stats: async () => stats(), detach: (force: boolean) => this.detach(force) }
    this.#control = await serveControl(this.#folder.control, control)
    await this.#server.listenUnix(this.#record.socket)
    await this.#listenTcp()
    for (const descriptor of descriptors) await this.#server.listenDescriptor(descriptor, this.#options.tls)
    if (mount) await this.#mountAt(mount)
    await saveRecord(this.#folder, this.#record)
    signal?.addEventListener('abort', this.#giveUp, { once: true })
    signal?.throwIfAborted()
    if (stream) void this.#server.serve(stream).then(this.#giveUp)
  }

  /** What other processes see of it. */
  get record(): DiskRecord {
    return this.#record
  }

  /**
   * Flushes, unmounts and closes. A device that fails by then is detached all the same.
   *
   * @param force also when programs use what is mounted: what they have open fails then
   * @throws {MountError} MOUNT_BUSY, never with `force`; everything goes on
   */
  async detach(force: boolean): Promise<Detached> {
    // One that does not force may be refused, which must not be the answer to one that does.
    if (this.#detaching && force) {
      return this.#detaching.catch((error: unknown) => {
        if (this.#detaching) throw error
        return this.detach(true)
      })
    }
    this.#detaching ??= this.#takeDown(force)
    return this.#detaching
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach(true)
  }

  readonly #giveUp = (): void => {
    this.detach(true).catch(this.#options.warn)
  }

  async #listenTcp(): Promise<void> {
    const { tcp, tls } = this.#options
    if (!tcp) return
    if (!tls) throw new TypeError('TCP needs TLS')
    const port = await this.#server.listenTcp({ host: tcp.address, port: tcp.port }, tls)
    this.#record = { ...this.#record, tcp: { address: tcp.address, port } }
  }

  async #mountAt({ dir, partition, readOnly }: NonNullable<ServeDiskOptions['mount']>): Promise<void> {
    const { device, signal } = this.#options
    const chosen = await chooseMount(this.#partitions, partition)
    const { mountDisk } = await import('#adapters/mount-nbd/index.ts')
    const mount = await mountDisk({
      socket: this.#record.socket,
      exportName: chosen?.exportName ?? '',
      dir,
      readOnly: readOnly || !device.write,
      // What follows the disk in a VHD is not part of the file system.
      ...(!chosen && this.#record.format === 'vhd' && { sizeBytes: device.sizeBytes }),
      stateDir: this.#folder.path,
      ...(signal && { signal }),
    })
    this.#mount = mount
    const { filesystem } = mount
    const facts = { dir: mount.dir, filesystem, readOnly: mount.readOnly }
    this.#record = { ...this.#record, mount: { ...facts, export: chosen?.exportName ?? this.#record.name } }
  }

  async #takeDown(force: boolean): Promise<Detached> {
    const { device, onDetach, signal, warn } = this.#options
    const { lazily } = await this.#unmount(force)
    try {
      await device.flush?.().catch(warn)
      await this.#server.close()
      await onDetach?.()
    } finally {
      this.#control?.close()
      await unregister(this.#folder)
      signal?.removeEventListener('abort', this.#giveUp)
      this.#resolveEnded({ lazily })
    }
    return { lazily }
  }

  async #unmount(force: boolean): Promise<Detached> {
    try {
      return (await this.#mount?.unmount(force)) ?? { lazily: false }
    } catch (error) {
      this.#detaching = undefined
      throw error
    }
  }
}

async function recordOf(options: ServeDiskOptions): Promise<DiskRecord> {
  const { device, name, description, format, socket, runDir } = options
  const id = randomBytes(4).toString('hex')
  const own = await identify(process.pid)
  return {
    id,
    name,
    description,
    pid: process.pid,
    startTime: own?.startTime ?? '',
    format,
    readOnly: !device.write,
    sizeBytes: Number(device.sizeBytes),
    socket: socket ?? folderOf(runDir, id).socket,
    since: new Date().toISOString(),
  }
}

async function exportsOf(
  { device, name, description, format }: ServeDiskOptions,
  { since }: DiskRecord,
  partitions: readonly ExportedPartition[],
): Promise<readonly NbdExport[]> {
  const whole = format === 'vhd' ? await vhdOf(device, since) : device
  return [
    { name, description, device: whole },
    ...partitions.map(({ exportName, number, device }) => ({
      name: exportName,
      description: `${description}, partition ${number}`,
      device,
    })),
  ]
}

async function vhdOf(device: BlockDevice, since: string): Promise<BlockDevice> {
  const { asFixedVhd } = await import('#core/image/index.ts')
  const createdSeconds = Math.floor((Date.parse(since) - vhdEpochMs) / 1000)
  return asFixedVhd(device, { uniqueId: randomUUID(), createdSeconds })
}
