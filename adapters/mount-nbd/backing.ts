import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { MountError } from './mount-error.ts'
import type { MountState } from './mount-state.ts'
import { mountAt } from './mount-table.ts'
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
type Remember = (step: Pick<MountState, 'fuse' | 'nbd'>) => Promise<void>

const connections = 4
const fuseReadyMs = 10_000

/** The kernel's NBD devices; none when it has no such driver or the client is not installed. */
export async function kernelDevices(): Promise<readonly string[]> {
  if (!isInstalled('nbd-client')) return []
  const names = (await readdir('/sys/block')).filter((name) => /^nbd\d+$/.test(name))
  return names.toSorted((a, b) => Number(a.slice(3)) - Number(b.slice(3))).map((name) => `/dev/${name}`)
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

/**
 * Shows an export as a file, by nbdfuse.
 *
 * @param dir a folder for it, which is made
 * @returns the file
 * @throws {MountError} MOUNT_FAILED
 */
export async function showAsFile(
  { socket, exportName, readOnly }: Export,
  dir: string,
  remember: Remember,
  signal?: AbortSignal,
): Promise<string> {
  await remember({ fuse: { dir } })
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const uri = `nbd+unix:///${encodeURIComponent(exportName)}?socket=${encodeURIComponent(socket)}`
  // A process group of its own: Ctrl-C must not end it under a mounted file system.
  const child = spawn('nbdfuse', [...(readOnly ? ['-r'] : []), dir, uri], {
    env: toolEnvironment,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ending = wordsAtTheEnd(child)
  const found = child.pid === undefined ? undefined : await identify(child.pid)
  if (found) await remember({ fuse: { dir, process: found } })
  const isShown = async (): Promise<boolean> => (await mountAt(dir))?.type.startsWith('fuse') ?? false
  const isDecided = async (): Promise<boolean> =>
    signal?.aborted === true || child.exitCode !== null || child.signalCode !== null || isShown()
  await until(isDecided, fuseReadyMs)
  signal?.throwIfAborted()
  if (await isShown()) return join(dir, 'nbd')
  child.kill('SIGKILL')
  throw new MountError('MOUNT_FAILED', `nbdfuse did not show the disk: ${await ending}`)
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
