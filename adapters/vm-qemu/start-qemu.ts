import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import type { Stats } from 'node:fs'
import { chown, copyFile, mkdir, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { qemuArguments, type VmConfig, VmError } from '#core/vm/index.ts'
import { Monitor } from './monitor.ts'
import { enterNetwork, type VmNetworking } from './vm-networking.ts'

export interface StartQemuOptions {
  readonly config: VmConfig
  /** Made for this VM alone, and removed with it. */
  readonly dir: string
  /** Serves its disk by NBD on a connection whose client QEMU is. It does not come up before that is answered. */
  readonly serveDisk: (stream: Duplex) => void
  /** Told of what goes wrong without ending anything. */
  readonly warn: (error: unknown) => void
  /** Ends the starting. */
  readonly signal?: AbortSignal
}

/** A QEMU process. Lifetime: until `exited`; whoever started it disposes of it, which kills it. */
export interface QemuVm extends AsyncDisposable {
  readonly pid: number
  readonly monitor: Monitor
  /** RFB without password, for root and the account of the VM alone. */
  readonly displaySocket: string
  readonly accelerator: 'kvm' | 'tcg'
  /** When it has ended, in whatever way; with the last that it said. */
  readonly exited: Promise<{ readonly code: number | null; readonly log: string }>
  /** At once. */
  kill(): void
}

const program = 'qemu-system-x86_64'
const displayName = 'display.sock'
const variablesName = 'variables.fd'
const firmware = { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' }
/**
 * Accounts that nobody has: beyond what systemd, containers and displays are given. Each VM draws one of its own: those of one process
 * are strangers to each other, too.
 */
const uids = { first: 1_920_000_000, count: 2 ** 26 }
const longestLog = 16_384

/**
 * Starts QEMU with a signed configuration. It boots at once.
 *
 * As root it runs under an account that nobody else has, in a network of its own, with no more privileges than that;
 * otherwise as whoever calls. It ends with this process, however that ends.
 *
 * @throws {VmError} VM_PROGRAM_MISSING, VM_NOT_STARTED, VM_NEEDS_ROOT
 */
export async function startQemu(options: StartQemuOptions): Promise<QemuVm> {
  const { config, dir, signal } = options
  signal?.throwIfAborted()
  await using starting = new AsyncDisposableStack()
  await mkdir(dir, { recursive: true, mode: 0o700 })
  starting.defer(() => rm(dir, { recursive: true, force: true }))
  const uid = process.getuid?.() === 0 ? uids.first + randomInt(uids.count) : undefined
  if (uid !== undefined) await chown(dir, uid, uid)
  const networking = starting.use(await enterNetwork(config.network, { dir, uid, warn: options.warn }))
  const kvmGroups = await groupsForKvm(uid)
  const accelerator = kvmGroups === undefined ? 'tcg' : 'kvm'
  const lockMemory = uid !== undefined && (await isSwapping())
  const words = qemuArguments(config, {
    accelerator,
    diskFd: 3,
    monitorFd: 4,
    displaySocket: displayName,
    uefi: config.firmware === 'uefi' ? await prepareFirmware(dir, uid) : undefined,
    lockMemory,
  })
  const child = launch(
    [...wrapping(uid, networking, { groups: kvmGroups ?? noGroups, lockMemory }), program, ...words],
    dir,
  )
  const [disk] = pipesOf(child)
  // That it has hung up is told by its end.
  disk.on('error', () => {})
  options.serveDisk(disk)
  return await watch(child, { displaySocket: join(dir, displayName), accelerator }, starting.move(), signal)
}

const noGroups = '--clear-groups'

function launch([command = '', ...args]: readonly string[], dir: string): ChildProcess {
  // Whatever QEMU makes is its own account's alone.
  const umask = process.umask(0o177)
  try {
    return spawn(command, args, { cwd: dir, stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] })
  } finally {
    process.umask(umask)
  }
}

async function watch(
  child: ChildProcess,
  about: Pick<QemuVm, 'displaySocket' | 'accelerator'>,
  resources: AsyncDisposableStack,
  signal: AbortSignal | undefined,
): Promise<QemuVm> {
  let log = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (text) => (log = `${log}${String(text)}`.slice(-longestLog)))
  const kill = (): void => void child.kill('SIGKILL')
  signal?.addEventListener('abort', kill, { once: true })
  const failed = once(child, 'error').then(([cause]: unknown[]) => {
    throw missing(cause)
  })
  failed.catch(() => {})
  const exited = once(child, 'close').then(async ([code]: unknown[]) => {
    await resources.disposeAsync()
    return { code: typeof code === 'number' ? code : null, log: log.trim() }
  })
  const end = async (): Promise<void> => {
    kill()
    await exited
  }
  const [, channel] = pipesOf(child)
  const ended = exited.then(({ log }) => {
    throw new VmError('VM_NOT_STARTED', `QEMU did not start: ${log || 'it said nothing'}`, {
      remedy: 'See docs/local-vm.md for what this machine needs.',
    })
  })
  ended.catch(() => {})
  try {
    const monitor = await Promise.race([Monitor.open(channel), failed, ended])
    // Once it is up, whoever started it ends it.
    signal?.removeEventListener('abort', kill)
    return {
      pid: child.pid ?? 0,
      monitor,
      ...about,
      exited,
      kill,
      [Symbol.asyncDispose]: end,
    }
  } catch (error) {
    if (child.pid === undefined) await resources.disposeAsync()
    else await end()
    signal?.throwIfAborted()
    throw error instanceof VmError && error.code === 'VM_GONE'
      ? await ended.catch((why: unknown) => why)
      : error
  }
}

function pipesOf({ stdio: [, , , disk, channel] }: ChildProcess): readonly [Duplex, Duplex] {
  if (disk instanceof Duplex && channel instanceof Duplex) return [disk, channel]
  throw new TypeError('expected pipes in both directions')
}

/** What stands before QEMU: its network, its account, and that it dies with this process. */
function wrapping(
  uid: number | undefined,
  { enter }: VmNetworking,
  { groups, lockMemory }: { readonly groups: string; readonly lockMemory: boolean },
): readonly string[] {
  if (uid === undefined) return ['setpriv', '--pdeathsig', 'KILL', '--no-new-privs', '--']
  const limits = `--core=0:0${lockMemory ? ' --memlock=unlimited:unlimited' : ''}`
  const account = `--reuid ${uid} --regid ${uid} ${groups} --inh-caps=-all --bounding-set=-all`
  const words = `prlimit ${limits} -- setpriv ${account} --no-new-privs --pdeathsig KILL --`
  return [...enter, ...words.split(' ')]
}

/**
 * Some machines have the device and no processor behind it that could virtualize (`kvm-pvm`): guests that do not know of that start there, and
 * stand still before long.
 *
 * @param uid of the VM's own account; absent: it runs as this one
 * @returns words for setpriv(1); undefined when KVM cannot be used
 */
async function groupsForKvm(uid: number | undefined): Promise<string | undefined> {
  await using device = await open('/dev/kvm', 'r+').catch(() => undefined)
  if (device === undefined || !canVirtualize(await readFile('/proc/cpuinfo', 'utf8'))) return undefined
  return uid === undefined ? noGroups : groupsToOpen(await device.stat())
}

/**
 * How an account without rights may open a device: everybody may, or its group. That must not be root's, to which files belong that are
 * nobody else's.
 *
 * @returns words for setpriv(1); undefined when it may not
 */
export function groupsToOpen({ mode, gid }: Pick<Stats, 'mode' | 'gid'>): string | undefined {
  if ((mode & 0o006) === 0o006) return noGroups
  return (mode & 0o060) === 0o060 && gid !== 0 ? `--groups ${gid}` : undefined
}

/** Spec: proc_cpuinfo(5); `vmx` of Intel's processors, `svm` of AMD's. */
export function canVirtualize(cpuinfo: string): boolean {
  return /^flags\s*:.*\s(?:vmx|svm)(?:\s|$)/m.test(cpuinfo)
}

async function isSwapping(): Promise<boolean> {
  const lines = (await readFile('/proc/swaps', 'utf8').catch(() => '')).trim().split('\n')
  return lines.length > 1
}

/** What the guest's firmware remembers is forgotten at the end: it is no part of what was signed. */
async function prepareFirmware(dir: string, uid: number | undefined) {
  const variables = join(dir, variablesName)
  try {
    await copyFile(firmware.variables, variables)
  } catch (cause) {
    throw new VmError('VM_PROGRAM_MISSING', 'the UEFI firmware for virtual machines is not installed', {
      remedy: 'Install OVMF (Debian: ovmf).',
      cause,
    })
  }
  if (uid !== undefined) await chown(variables, uid, uid)
  // From within: folders above it are closed to the account of the VM.
  return { code: firmware.code, variables: variablesName }
}

function missing(cause: unknown): VmError {
  return new VmError('VM_PROGRAM_MISSING', `a program is missing: ${String(cause)}`, {
    remedy: 'Install QEMU and util-linux (Debian: qemu-system-x86, util-linux).',
    cause,
  })
}

/** Waits for a VM to end by itself. @returns whether it has */
export async function endsWithin({ exited }: Pick<QemuVm, 'exited'>, ms: number): Promise<boolean> {
  return Promise.race([exited.then(() => true), sleep(ms, false, { ref: false })])
}
