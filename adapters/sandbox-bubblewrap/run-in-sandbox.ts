import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { bubblewrapArguments } from './arguments.ts'
import { prepareScript } from './prepare.ts'
import { SandboxError } from './sandbox-error.ts'

export interface SandboxRequest {
  /** The directory that becomes `/`: where a disk is mounted. What the sandbox may write there, is up to that mount. */
  readonly root: string
  readonly command: string
  readonly args: readonly string[]
  /** All that the command finds in its environment, with what the sandbox itself sets. Nobody else sees it. */
  readonly env: Readonly<Record<string, string>>
  /** Whom it runs as, inside and outside; not root. */
  readonly user: { readonly uid: number; readonly gid: number; readonly name: string }
  readonly home: {
    /** Inside: two names long, such as `/home/ann`. */
    readonly path: string
    /** The one on the disk, made when it is missing; an empty one that is gone at the end; a directory of this machine. */
    readonly from: 'disk' | 'memory' | { readonly folder: string }
  }
  /** Absent: no screen. The sockets, and the file `authority`, must be open to the user. */
  readonly display?:
    | { readonly kind: 'x11'; readonly display: string; readonly authority?: string }
    | { readonly kind: 'wayland'; readonly socket: string }
  /** True: this machine's own network, its loopback and its abstract unix sockets included. */
  readonly network: boolean
  /** Gets what the command says; absent: it is said by this process. */
  readonly onOutput?: (bytes: Uint8Array, from: 'stdout' | 'stderr') => void
  /** Kills everything in the sandbox. */
  readonly signal: AbortSignal
}

/** How the command ended. */
export interface SandboxEnd {
  /** 128 and the signal's number for a command that a signal ended, as a shell has it. */
  readonly exitCode: number
}

const packageOf = {
  bwrap: 'bubblewrap',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  mount: 'mount',
} as const
const toolPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const longestWords = 4096

/**
 * Runs a command of a mounted disk with that disk as its whole file system: own users, processes, IPC, host name and
 * cgroups, no new privileges, no capabilities, private /tmp, /run, /dev and /proc, and nothing of this machine but what is
 * asked for. It dies with this process, and everything that it started dies with it.
 *
 * Files of other users than the person's own are seen as nobody's. Programs that make user namespaces of their own, as
 * browsers do, may.
 *
 * @returns when no process of the sandbox is left
 * @throws {SandboxError}; the reason of `signal`
 */
export async function runInSandbox(request: SandboxRequest): Promise<SandboxEnd> {
  const { command, args, signal } = request
  signal.throwIfAborted()
  requireSound(request)
  requireTools()
  const words = bubblewrapArguments(request)
  const child = spawn('unshare', [...preparation(request), '--', command, ...args], {
    // A process group of its own: what ends it is `signal`.
    detached: true,
    cwd: '/',
    env: { PATH: toolPath, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
  })
  const kill = (): void => void child.kill('SIGKILL')
  signal.addEventListener('abort', kill)
  try {
    return await follow(child, words, request)
  } finally {
    signal.removeEventListener('abort', kill)
  }
}

/** @throws {SandboxError} SANDBOX_BAD_REQUEST, SANDBOX_NEEDS_ROOT */
function requireSound({ user, home, command, env }: SandboxRequest): void {
  const problem =
    (!isOrdinary(user.uid) || !isOrdinary(user.gid)
      ? `a user other than root, got ${user.uid}:${user.gid}`
      : undefined) ??
    (/^[a-z_][a-z0-9_-]{0,31}$/.test(user.name) ? undefined : `a user name, got ${user.name}`) ??
    (/^\/[^/:\n.][^/:\n]*\/[^/:\n.][^/:\n]*$/.test(home.path)
      ? undefined
      : `a home such as /home/ann, got ${home.path}`) ??
    ([command, ...Object.entries(env).flat()].some((word) => word.includes('\0'))
      ? 'words without zero bytes'
      : undefined)
  if (problem !== undefined) throw new SandboxError('SANDBOX_BAD_REQUEST', `expected ${problem}`)
  if (process.getuid?.() === 0) return
  throw new SandboxError('SANDBOX_NEEDS_ROOT', 'only root can show a disk to one person alone', {
    remedy: 'Run it as root; the command itself runs as the person.',
  })
}

function isOrdinary(id: number): boolean {
  return Number.isSafeInteger(id) && id > 0
}

function isInstalled(tool: string): boolean {
  return toolPath.split(':').some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** @throws {SandboxError} SANDBOX_TOOL_MISSING */
function requireTools(): void {
  const missing = (Object.keys(packageOf) as (keyof typeof packageOf)[]).filter((tool) => !isInstalled(tool))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((tool) => packageOf[tool]))].join(' ')
  throw new SandboxError('SANDBOX_TOOL_MISSING', `this machine has no ${missing.join(', ')}`, {
    remedy: `Run: apt-get install ${packages}`,
  })
}

/** What is unmounted outside is unmounted inside of the new mount namespace, too. */
function preparation({ root, user, home, network }: SandboxRequest): readonly string[] {
  const folder = typeof home.from === 'string' ? home.from : home.from.folder
  const facts = [root, folder, user.name, String(user.uid), String(user.gid), home.path, String(network)]
  return ['--mount', '--propagation', 'slave', '--', 'sh', '-c', prepareScript, 'sh', ...facts]
}

async function follow(
  child: ChildProcess,
  words: readonly string[],
  { signal, onOutput = say }: SandboxRequest,
): Promise<SandboxEnd> {
  const [, stdout, stderr, wordsIn, statusOut] = child.stdio as [null, Readable, Readable, Writable, Readable]
  let said = ''
  stdout.on('data', (bytes: Uint8Array) => onOutput(bytes, 'stdout'))
  stderr.on('data', (bytes: Uint8Array) => {
    said = (said + String(bytes)).slice(-longestWords)
    onOutput(bytes, 'stderr')
  })
  let status = ''
  statusOut.on('data', (bytes: Uint8Array) => (status += String(bytes)))
  // A child that ends early closes its ends; that it ended is what counts.
  for (const stream of [stdout, stderr, wordsIn, statusOut]) stream.on('error', () => undefined)
  // Not on the command line, where everybody could read the environment.
  wordsIn.end(words.map((word) => `${word}\0`).join(''))
  await new Promise<void>((resolve) => child.once('close', () => resolve()).once('error', () => resolve()))
  const inside = Number(/"child-pid": (\d+)/.exec(status)?.[1])
  if (inside > 0) await gone(inside)
  signal.throwIfAborted()
  const exitCode = /"exit-code": (\d+)/.exec(status)?.[1]
  if (exitCode !== undefined) return { exitCode: Number(exitCode) }
  const reason = said.trim() || `it ended with ${child.exitCode ?? child.signalCode}`
  throw new SandboxError('SANDBOX_FAILED', `the sandbox could not be made: ${reason}`)
}

/** The first process of the sandbox is gone only when all others are. A zombie is gone. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    if (text === '' || /\) [ZX] /.test(text)) return
    await delay(5)
  }
}

function say(bytes: Uint8Array, from: 'stdout' | 'stderr'): void {
  process[from].write(bytes)
}
