import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { MountError } from './mount-error.ts'

/** The Debian package of each program that mounting needs. */
const packageOf = {
  mount: 'mount',
  umount: 'mount',
  losetup: 'mount',
  blkid: 'util-linux',
  dmesg: 'util-linux',
  dd: 'coreutils',
  nsenter: 'util-linux',
  bwrap: 'bubblewrap',
  nbdfuse: 'libnbd-bin',
  'nbd-client': 'nbd-client',
} as const

export type Tool = keyof typeof packageOf

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** For every child: found where root's programs are, and speaking the language that their words are looked for in. */
export const toolEnvironment = { PATH: path, LC_ALL: 'C' } as const

/** @throws {MountError} MOUNT_TOOL_MISSING, naming the package of each */
export function requireTools(tools: readonly Tool[]): void {
  const missing = tools.filter((tool) => !isInstalled(tool))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((tool) => packageOf[tool]))].join(' ')
  throw new MountError('MOUNT_TOOL_MISSING', `this machine has no ${missing.join(', ')}`, {
    remedy: `Run: apt-get install ${packages}`,
  })
}

export function isInstalled(tool: Tool): boolean {
  return path.split(':').some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** How a tool ended. */
export interface Outcome {
  /** The exit status, or the signal that ended it. */
  readonly status: number | string
  readonly output: string
  /** What it said to people, on one line. */
  readonly words: string
}

/** Runs a tool to its end. @throws the reason of `signal` */
export async function attempt(
  tool: Tool,
  args: readonly string[],
  signal?: AbortSignal,
  started: (pid: number) => Promise<void> = async () => {},
): Promise<Outcome> {
  signal?.throwIfAborted()
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  const options = { env: toolEnvironment, maxBuffer: 1 << 20, ...(signal && { signal }) }
  const { pid } = execFile(tool, args, options, (error, output, said) => {
    const status = error === null ? 0 : (error.code ?? error.signal ?? 'failed')
    resolve({ status, output, words: said.trim().replaceAll(/\s*\n\s*/g, '; ') })
  })
  if (pid !== undefined) await started(pid)
  const outcome = await promise
  signal?.throwIfAborted()
  return outcome
}

/** Runs a tool that must succeed. @throws {MountError} MOUNT_FAILED; the reason of `signal` */
export async function run(tool: Tool, args: readonly string[], signal?: AbortSignal): Promise<string> {
  const { status, output, words } = await attempt(tool, args, signal)
  if (status === 0) return output
  throw new MountError('MOUNT_FAILED', `${tool} ended with ${status}: ${words || 'it said nothing'}`)
}
