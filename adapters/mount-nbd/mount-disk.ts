import { mkdir, readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { connectKernel, type Export, kernelDevices, type Remember, showAsFile } from './backing.ts'
import { mountFilesystem } from './filesystem.ts'
import { MountError } from './mount-error.ts'
import { loadState, type MountState, saveState } from './mount-state.ts'
import { mountAt } from './mount-table.ts'
import { attempt, requireTools, run } from './tools.ts'
import { type Unmounted, undo, unmountLeftovers } from './undo.ts'

/** Loop devices that others may take before us. */
const mostTries = 100

export interface MountOptions extends Export {
  /** Where the file system appears: an empty directory, or one that does not exist yet. */
  readonly dir: string
  /** The file system's name in the kernel; absent: it is found out. */
  readonly filesystem?: string
  /** The part of the export that holds the file system, in bytes, multiples of 512; absent: all of it. */
  readonly offset?: bigint
  readonly sizeBytes?: bigint
  /** A folder of this mount's own, for what `unmountLeftovers` needs. */
  readonly stateDir: string
  readonly signal?: AbortSignal
}

/** Lifetime: from `mountDisk` until `unmount` succeeded; whoever mounted it unmounts it before the server goes. */
export interface Mount extends AsyncDisposable {
  /** Without links. */
  readonly dir: string
  readonly filesystem: string
  readonly readOnly: boolean
  /** By the kernel's own client, or by nbdfuse and a loop device. */
  readonly through: 'kernel' | 'nbdfuse'
  /**
   * Writes back what is not written yet and takes everything down.
   *
   * @param force also when programs use it or the disk does not answer
   * @throws {MountError} MOUNT_BUSY: nothing has changed
   */
  unmount(force: boolean): Promise<Unmounted>
  /** Unmounts by force. Idempotent. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Mounts an export of an NBD server on this machine, as root: by the kernel's NBD client where there is one, otherwise
 * by nbdfuse and a loop device.
 *
 * The process that serves the export may call this. INVARIANT: such a process never touches files under `dir` itself:
 * it would wait for itself. All work here is done by children.
 *
 * @throws {MountError} nothing is left mounted then
 */
export async function mountDisk(options: MountOptions): Promise<Mount> {
  const { stateDir, readOnly, signal } = options
  signal?.throwIfAborted()
  const devices = await kernelDevices()
  requireTools([
    'mount',
    'umount',
    'losetup',
    'blkid',
    'dmesg',
    'dd',
    ...(devices[0] ? [] : (['nbdfuse', 'bwrap', 'nsenter'] as const)),
  ])
  if (process.getuid?.() !== 0) {
    throw new MountError('MOUNT_NEEDS_ROOT', 'only root may mount', {
      remedy: 'Run it as root, or attach the disk without mounting it.',
    })
  }
  if (await loadState(stateDir)) {
    throw new MountError('MOUNT_STATE_TAKEN', `${stateDir} is the folder of another mount`)
  }
  let state: MountState = await prepare(options.dir)
  const remember: Remember = async (step) => {
    state = { ...state, ...step }
    await saveState(stateDir, state)
  }
  await remember({})
  try {
    const device = devices[0]
      ? await kernelDevice(options, devices, remember)
      : await loopOver(
          await showAsFile(options, join(await realpath(stateDir), 'nbd'), remember, signal),
          options,
          remember,
        )
    const filesystem = await mountFilesystem({ ...options, device, dir: state.dir })
    // A loop device that is in use goes as soon as the file system does, also when nobody is left to detach it.
    if (state.loop) await run('losetup', ['--detach', state.loop], signal)
    const through = devices[0] ? 'kernel' : 'nbdfuse'
    return mounted(stateDir, { dir: state.dir, filesystem, readOnly, through })
  } catch (error) {
    await undo(stateDir, state, true)
    throw error
  }
}

function mounted(stateDir: string, facts: Pick<Mount, 'dir' | 'filesystem' | 'readOnly' | 'through'>): Mount {
  return {
    ...facts,
    unmount: async (force) => {
      const state = await loadState(stateDir)
      return state ? undo(stateDir, state, force) : { dir: facts.dir, lazily: false }
    },
    [Symbol.asyncDispose]: async () => void (await unmountLeftovers(stateDir)),
  }
}

/** Makes the directory when it is missing. @throws {MountError} MOUNT_DIR_BUSY */
async function prepare(wanted: string): Promise<MountState> {
  const made = await mkdir(wanted, { recursive: true })
  const dir = await realpath(wanted)
  const remedy = 'Choose another directory.'
  if (await mountAt(dir)) {
    throw new MountError('MOUNT_DIR_BUSY', `something is mounted at ${dir} already`, { remedy })
  }
  const [first] = await readdir(dir)
  if (first === undefined) return { dir, madeDir: made !== undefined }
  throw new MountError('MOUNT_DIR_BUSY', `expected an empty directory at ${dir}, found ${first} in it`, {
    remedy,
  })
}

function isPart({ offset, sizeBytes }: MountOptions): boolean {
  return offset !== undefined || sizeBytes !== undefined
}

async function kernelDevice(
  options: MountOptions,
  devices: readonly string[],
  remember: Remember,
): Promise<string> {
  const path = await connectKernel(options, devices, remember, options.signal)
  return isPart(options) ? loopOver({ path }, options, remember) : path
}

/**
 * Puts a loop device over a file or device. The kernel looks at no partitions, so a part is given by its place.
 *
 * INVARIANT: a loop device is remembered before it is ours. Once nbdfuse is gone, nothing in the kernel says whose it was. The kernel gives
 * one to one process only: who comes second tries the next.
 *
 * @param backing.pid who sees it there; absent: everybody
 */
async function loopOver(
  { path, pid }: { readonly path: string; readonly pid?: number },
  { offset = 0n, sizeBytes, readOnly, signal }: MountOptions,
  remember: Remember,
): Promise<string> {
  const size = sizeBytes === undefined ? [] : ['--sizelimit', String(sizeBytes)]
  const words = ['--offset', String(offset), ...size, ...(readOnly ? ['--read-only'] : [])]
  const there = pid === undefined ? [] : ['--target', String(pid), '--mount', 'losetup']
  for (let tries = 1; ; tries += 1) {
    const loop = (await run('losetup', ['--find'], signal)).trim()
    await remember({ loop })
    const tool = pid === undefined ? 'losetup' : 'nsenter'
    const { status, words: said } = await attempt(tool, [...there, ...words, loop, path], signal)
    if (status === 0) return loop
    if (!said.includes('busy') || tries === mostTries)
      throw new MountError('MOUNT_FAILED', `losetup ended with ${status}: ${said}`)
  }
}
