import { readFile, rmdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Holder, holdersOf } from './holders.ts'
import { MountError } from './mount-error.ts'
import { dropState, loadState, type MountState } from './mount-state.ts'
import { fileUnder, loopsOver, type MountEntry, mountAt, mountTable } from './mount-table.ts'
import { isRunning, type ProcessId } from './process-id.ts'
import { attempt } from './tools.ts'

/** How a mount came to its end. */
export interface Unmounted {
  readonly dir: string
  /**
   * Programs still had it, or the disk did not answer: it is gone from the directory, what they hold fails, and what
   * was written last may be lost.
   */
  readonly lazily: boolean
}

/** How long each step may take before it is done the hard way. */
const patienceMs = 5000

/**
 * Takes down what a mount of this folder left, however far it had come: for a process that was killed. Idempotent, and
 * harmless at once with another that does the same.
 *
 * @returns undefined when there is nothing
 */
export async function unmountLeftovers(stateDir: string): Promise<Unmounted | undefined> {
  const state = await loadState(stateDir)
  return state && undo(stateDir, state, true)
}

/** `MAJOR:MINOR` of what a killed process left mounted from this folder; undefined when nothing is. */
export async function deviceLeft(stateDir: string): Promise<string | undefined> {
  const state = await loadState(stateDir)
  if (state === undefined) return undefined
  const backing = await backingOf(state)
  if (backing === undefined) return undefined
  return (await oursAt(state.dir, [backing, ...(await loopsOf(state, backing))]))?.device
}

/**
 * Takes a mount down from the top: file system, loop device, NBD device or file, nbdfuse.
 *
 * What there is, is looked up in the tables of the kernel; the state only says what is ours. So each step can be done
 * again.
 *
 * @param force also when programs use it or the disk does not answer
 * @throws {MountError} MOUNT_BUSY, MOUNT_FAILED; everything is as before then. Never with `force`
 */
export async function undo(stateDir: string, state: MountState, force: boolean): Promise<Unmounted> {
  const backing = await backingOf(state)
  let lazily = false
  if (backing !== undefined) {
    lazily = await unmount(state.dir, [backing, ...(await loopsOf(state, backing))], force)
    for (const loop of await loopsOf(state, backing)) await attempt('losetup', ['-d', loop])
    const isFree = async (): Promise<boolean> => (await loopsOf(state, backing)).length === 0
    if (!(await until(isFree, patience(lazily)))) lazily = true
  }
  if (backing !== undefined && backing === state.nbd?.device) await attempt('nbd-client', ['-d', backing])
  if (state.fuse) {
    if (state.fuse.process) await end(state.fuse.process, patience(lazily))
    await rmdir(state.fuse.dir).catch(ignore)
  }
  if (state.madeDir) await rmdir(state.dir).catch(ignore)
  await dropState(stateDir)
  return { dir: state.dir, lazily }
}

/** What programs still hold is not waited for. */
function patience(lazily: boolean): number {
  return lazily ? 200 : patienceMs
}

/** What the file system lies on: a device of the kernel that is surely ours, or the file that nbdfuse shows. */
async function backingOf({ fuse, nbd }: MountState): Promise<string | undefined> {
  if (fuse) return join(fuse.dir, 'nbd')
  return nbd && (await clientOf(nbd.device)) === nbd.clientPid ? nbd.device : undefined
}

/** The file of an nbdfuse that is gone has lost the path to it: then ours is the device that was remembered. */
async function loopsOf({ fuse, loop }: MountState, backing: string): Promise<readonly string[]> {
  const found = await loopsOver(backing)
  if (fuse === undefined || loop === undefined || found.includes(loop)) return found
  return (await fileUnder(loop)) === `/${basename(backing)}` ? [...found, loop] : found
}

/** The pid of the client that connected an NBD device; undefined when it is free. */
export async function clientOf(device: string): Promise<number | undefined> {
  const text = await readFile(`/sys/block/${basename(device)}/pid`, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : Number(text)
}

/** @returns whether it had to be lazily */
async function unmount(dir: string, devices: readonly string[], force: boolean): Promise<boolean> {
  const ours = (): Promise<MountEntry | undefined> => oursAt(dir, devices)
  const entry = await ours()
  if (!entry) return false
  if (!force) await requireUnused(entry)
  const ended = attempt('umount', [dir])
  const outcome = await (force ? Promise.race([ended, delay(patienceMs, undefined, { ref: false })]) : ended)
  if (outcome?.status === 0) return false
  if (force) {
    if (await ours()) await attempt('umount', ['--lazy', dir])
    return true
  }
  // It may have become busy since it was looked at.
  await requireUnused(entry)
  if (!(await ours())) return false
  throw new MountError('MOUNT_FAILED', `umount ended with ${outcome?.status}: ${outcome?.words}`)
}

async function oursAt(dir: string, devices: readonly string[]): Promise<MountEntry | undefined> {
  const entry = await mountAt(dir)
  return entry && devices.includes(entry.source) ? entry : undefined
}

/** @throws {MountError} MOUNT_BUSY */
async function requireUnused(entry: MountEntry): Promise<void> {
  const holders = await holdersOf(entry.device)
  const elsewhere = (await mountTable()).filter(
    ({ device, point }) => device === entry.device && point !== entry.point,
  )
  if (holders.length === 0 && elsewhere.length === 0) return
  const users = [...holders.map(inWords), ...elsewhere.map(({ point }) => `a mount at ${point}`)]
  const shown = users.length > 10 ? [...users.slice(0, 10), `${users.length - 10} more`] : users
  throw new MountError('MOUNT_BUSY', `${entry.point} is used by ${shown.join(', ')}`, {
    remedy: 'End these programs, or detach by force: what they have open fails then.',
  })
}

function inWords({ command, pid }: Holder): string {
  return `${command} (${pid})`
}

/** With nbdfuse goes the mount of its file. */
async function end(child: ProcessId, forMs: number): Promise<void> {
  const isGone = async (): Promise<boolean> => !(await isRunning(child))
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    try {
      if (await isRunning(child)) process.kill(child.pid, signal)
    } catch {
      // It ended by itself just now.
    }
    if (await until(isGone, forMs)) return
  }
}

/** Looks again and again. @returns whether it came true */
export async function until(condition: () => Promise<boolean>, forMs = patienceMs): Promise<boolean> {
  const startedAt = performance.now()
  while (!(await condition())) {
    if (performance.now() - startedAt > forMs) return false
    await delay(10)
  }
  return true
}

function ignore(): void {}
