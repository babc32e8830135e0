import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { MountError } from './mount-error.ts'
import type { MountState } from './mount-state.ts'
import { mountTableOf, topAt } from './mount-table.ts'
import { identify } from './process-id.ts'
import { attempt, isInstalled, toolEnvironment } from './tools.ts'
import { clientOf, until } from './undo.ts'

/** An export of an NBD server on this machine. */
export interface Export {
  readonly socket: string
  readonly exportName: string
  readonly readOnly: boolean
}

/** Remembers what is about to be done. */
export type Remember = (step: Partial<MountState>) => Promise<void>

const connections = 4
const fuseReadyMs = 10_000

/**
 * The kernel's NBD devices; none when it has no such driver or the client is not installed.
 *
 * INVARIANT: who serves a disk is in no mount namespace that ends with it and has the disk's file system. A process that is killed leaves its
 * namespace before it closes its sockets: were it the last, the file system would be written back to a server that is gone and not away, for
 * ever, and with it every `sync` of the machine. A service under systemd has a namespace of its own, and nbdfuse instead.
 */
export async function kernelDevices(): Promise<readonly string[]> {
  if (!isInstalled('nbd-client') || (await hasOwnNamespace())) return []
  const names = (await readdir('/sys/block')).filter((name) => /^nbd\d+$/.test(name))
  return names.toSorted((a, b) => Number(a.slice(3)) - Number(b.slice(3))).map((name) => `/dev/${name}`)
}

/** Whether what this process mounts is not there for the whole machine. */
async function hasOwnNamespace(): Promise<boolean> {
  const [own, first] = await Promise.all(
    ['self', '1'].map(async (pid) => readlink(`/proc/${pid}/ns/mnt`).catch(() => undefined)),
  )
  return own === undefined || own !== first
}

/**
 * Connects a free device of the kernel. One that somebody else takes at the same moment is theirs: the kernel gives a
 * device to one client only.
 *
 * @returns the device
 * @throws {MountError} MOUNT_FAILED
 */
export async function connectKernel(
  { socket, exportName, readOnly }: Export,
  devices: readonly string[],
  remember: Remember,
  signal?: AbortSignal,
): Promise<string> {
  for (const device of devices) {
    if ((await clientOf(device)) !== undefined) continue
    const words = ['-unix', socket, device, '-N', exportName, '-C', String(connections)]
    const { status, words: said } = await attempt(
      'nbd-client',
      readOnly ? [...words, '-R'] : words,
      signal,
      async (clientPid) => remember({ nbd: { device, clientPid } }),
    )
    if (status === 0) return device
    if ((await clientOf(device)) === undefined)
      throw new MountError('MOUNT_FAILED', `nbd-client ended with ${status}: ${said}`)
  }
  throw new MountError('MOUNT_FAILED', `all ${devices.length} NBD devices of this machine are in use`, {
    remedy: 'Detach a disk, or load the kernel module nbd with a larger nbds_max.',
  })
}

/** A file that nbdfuse shows in its own mount namespace. */
export interface ShownFile {
  readonly path: string
  /** nbdfuse. */
  readonly pid: number
}

/**
 * Shows an export as a file, by nbdfuse.
 *
 * INVARIANT: nbdfuse's mount namespace holds no mount of a file system that lies on a disk. When all that had the last one is killed at once
 * (by systemd, or for want of memory), whoever leaves a namespace last takes its mounts down and waits for the disk: nbdfuse would wait for
 * itself, for ever, and with it every `sync` of the machine. So it has a root of its own, without what is mounted elsewhere.
 *
 * @param dir a folder for it, which is made
 * @throws {MountError} MOUNT_FAILED
 */
export async function showAsFile(
  { socket, exportName, readOnly }: Export,
  dir: string,
  remember: Remember,
  signal?: AbortSignal,
): Promise<ShownFile> {
  await remember({ fuse: { dir } })
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const uri = `nbd+unix:///${encodeURIComponent(exportName)}?socket=${encodeURIComponent(socket)}`
  const program = ['nbdfuse', ...(readOnly ? ['-r'] : []), dir, uri]
  // A process group of its own: Ctrl-C must not end it under a mounted file system. It ends with the process that serves the disk.
  const child = spawn('bwrap', [...ownRoot([dir, socket]), '--info-fd', '3', ...program], {
    env: toolEnvironment,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  })
  const ending = wordsAtTheEnd(child)
  const pid = await innerPid(child)
  const found = pid === undefined ? undefined : await identify(pid)
  if (found) await remember({ fuse: { dir, process: found } })
  const isShown = async (): Promise<boolean> =>
    pid !== undefined && topAt(dir, await mountTableOf(pid))?.type.startsWith('fuse') === true
  const isDecided = async (): Promise<boolean> =>
    signal?.aborted === true || child.exitCode !== null || child.signalCode !== null || isShown()
  await until(isDecided, fuseReadyMs)
  signal?.throwIfAborted()
  if (pid !== undefined && (await isShown())) return { path: join(dir, 'nbd'), pid }
  child.kill('SIGKILL')
  throw new MountError('MOUNT_FAILED', `nbdfuse did not show the disk: ${await ending}`)
}

/** Words for bwrap: programs, devices and these paths, without what is mounted below others; of root's rights only that to mount. */
function ownRoot(paths: readonly string[]): readonly string[] {
  const links = ['bin', 'sbin', 'lib', 'lib64'].flatMap((name) => ['--symlink', `usr/${name}`, `/${name}`])
  const shown = ['/usr', '/sys'].flatMap((path) => ['--ro-bind', path, path])
  const cache = ['--ro-bind-try', '/etc/ld.so.cache', '/etc/ld.so.cache']
  const used = paths.flatMap((path) => ['--bind', path, path])
  const rights = ['--cap-drop', 'ALL', '--cap-add', 'CAP_SYS_ADMIN']
  const apart = ['--unshare-net', '--unshare-ipc', '--unshare-uts', '--die-with-parent']
  return [...apart, ...shown, ...links, ...cache, '--dev-bind', '/dev', '/dev', ...used, ...rights]
}

/** The process inside, as bwrap says it; undefined when it ended before. */
async function innerPid(child: ChildProcess): Promise<number | undefined> {
  let words = ''
  const info = child.stdio[3] as Readable
  info.setEncoding('utf8').on('data', (more: string) => (words += more))
  await once(info, 'close').catch(() => undefined)
  const pid = Number(/"child-pid":\s*(\d+)/.exec(words)?.[1])
  return Number.isSafeInteger(pid) ? pid : undefined
}

/** Reads on what a child says, so that it never waits for us, and keeps the first of it. */
async function wordsAtTheEnd(child: ChildProcess): Promise<string> {
  let words = ''
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    if (words.length < 4096) words += more
  })
  child.unref()
  try {
    await once(child, 'close')
  } catch (error) {
    return String(error)
  }
  return words.trim().replaceAll(/\s*\n\s*/g, '; ') || 'it said nothing'
}
