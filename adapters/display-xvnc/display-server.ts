import { chmod, lstat, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { type Display, DisplayError, type DisplayRequest, type DisplayServer } from '#core/broker/display.ts'
import { ensureAccount } from './account.ts'
import { openCgroups, parseMountinfo } from './cgroup.ts'
import type { Context, DisplayLog } from './context.ts'
import { installDesktop } from './desktop.ts'
import { discardAccount } from './discard-account.ts'
import { openNamespaces, xSockets } from './namespaces.ts'
import { requirePeers } from './packages.ts'
import { identify, isRunning, type ProcessId } from './processes.ts'
import { isComplete, isWhole, openSession, startSession } from './session.ts'
import { folderOf, loadStates } from './state.ts'
import { WarmPool } from './warm-pool.ts'
import { endDisplay, startXvnc } from './xvnc.ts'

export interface XvncOptions {
  /** Sockets, cookies, logs and state of running displays; emptied by a restart of the machine at the latest. */
  readonly runDir: string
  /** Homes of people; every agent of one site on this machine must name the same. */
  readonly homesDir: string
  /** Distinguishes agents that share a machine, `[a-z0-9-]{1,32}`. */
  readonly hostTag: string
  readonly log: DisplayLog
}

/**
 * Runs displays with Xvnc, as root on Linux: a display server under a throw-away user on a 0600 unix socket
 * without TCP, programs under the person's own account, both in one cgroup and in namespaces of their own.
 *
 * What people of one host still see of each other is what the kernel shows everybody: names of accounts, and
 * in /proc the existence, owner and command lines of processes (never their environment, files or memory).
 * Mount /proc with hidepid=2 to hide that as well.
 *
 * @throws {DisplayError} DISPLAY_NEEDS_ROOT, DISPLAY_PEER_MISSING, DISPLAY_RUN_DIR_UNFIT, DISPLAY_RUN_DIR_BUSY
 */
export async function createXvncDisplayServer(options: XvncOptions): Promise<DisplayServer> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    throw new DisplayError(
      'DISPLAY_NEEDS_ROOT',
      'sessions of other people can only be started by root on Linux',
      {
        remedy: 'Start the host agent with sudo, or as a system service.',
      },
    )
  if (!/^[a-z0-9-]{1,32}$/.test(options.hostTag))
    throw new DisplayError(
      'DISPLAY_BAD_REQUEST',
      `expected a host tag [a-z0-9-]{1,32}, got ${options.hostTag}`,
    )
  requirePeers()
  const [runDir, homesDir] = [resolve(options.runDir), resolve(options.homesDir)]
  for (const folder of [runDir, homesDir]) await openFolder(folder)
  const socket = folderOf(runDir, 'd000000000000').socket
  if (socket.length > 107)
    throw unfit(`the path of a socket, ${socket}, is longer than the 107 bytes of a unix socket`)
  await makeXSocketFolder()
  await claim(runDir)
  const cgroups = await openCgroups(
    options.hostTag,
    parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8')),
  )
  if (!cgroups.contain)
    options.log.warn(
      {},
      'no cgroups can be used here: limits are off, and a hostile program may outlive its session',
    )
  const namespaces = await openNamespaces(options.log)
  const desktop = join(runDir, 'desktop')
  await installDesktop(desktop)
  const closing = new AbortController()
  const shared = { runDir, homesDir, desktop, cgroups, namespaces, log: options.log }
  return new XvncDisplayServer({ ...shared, displays: new Set(), closing: closing.signal }, closing)
}

class XvncDisplayServer implements DisplayServer {
  readonly #context: Context
  readonly #sessions = new Map<string, Promise<Display>>()
  readonly #pool: WarmPool
  readonly #closing: AbortController
  readonly #starting = new Set<Promise<unknown>>()

  constructor(context: Context, closing: AbortController) {
    this.#context = context
    this.#closing = closing
    this.#pool = new WarmPool(context)
  }

  get warm(): number {
    return this.#pool.size
  }

  prelaunch(count: number): void {
    this.#pool.keep(count)
  }

  async start(request: DisplayRequest, signal: AbortSignal): Promise<Display> {
    const known = this.#sessions.get(request.sessionId)
    if (known) return known
    const starting = this.#start(request, AbortSignal.any([signal, this.#closing.signal]))
    this.#sessions.set(request.sessionId, starting)
    this.#starting.add(starting)
    this.#pool.pause()
    try {
      const display = await starting
      this.#forgetWhenEnded(display)
      return display
    } catch (error) {
      this.#sessions.delete(request.sessionId)
      throw error
    } finally {
      this.#starting.delete(starting)
      this.#pool.resume()
    }
  }

  async discard(account: string): Promise<void> {
    const { runDir, homesDir } = this.#context
    if ((await loadStates(runDir)).some(({ state }) => state?.request?.account === account))
      throw new DisplayError('DISPLAY_ACCOUNT_IN_USE', `a session of ${account} runs here still`)
    await discardAccount(account, homesDir)
  }

  async adopt(): Promise<readonly Display[]> {
    const adopted: Display[] = []
    for (const { id, state } of await loadStates(this.#context.runDir)) {
      if (this.#context.displays.has(id)) continue
      if (state && isComplete(state) && (await isWhole(this.#context, state))) {
        this.#context.displays.add(id)
        const display = openSession(this.#context, state)
        this.#sessions.set(display.sessionId, Promise.resolve(display))
        this.#forgetWhenEnded(display)
        adopted.push(display)
      } else await endDisplay(this.#context, id, state)
    }
    const stray = (await this.#context.cgroups.list()).filter((id) => !this.#context.displays.has(id))
    for (const id of stray) await this.#context.cgroups.kill(id)
    return adopted
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new DisplayError('DISPLAY_ENDED', 'the host agent is closing'))
    await Promise.allSettled(this.#starting)
    await this.#pool.close()
    await this.#context.cgroups.close()
    await rm(claimFile(this.#context.runDir), { force: true })
  }

  async #start(request: DisplayRequest, signal: AbortSignal): Promise<Display> {
    checkRequest(request)
    signal.throwIfAborted()
    const context = this.#context
    const account = await ensureAccount(request.account, request.fullName, context.homesDir, signal)
    const xvnc = (await this.#pool.take()) ?? (await startXvnc(context, request, signal))
    try {
      return await startSession(context, xvnc, account, request, signal)
    } catch (error) {
      await endDisplay(context, xvnc.state.id, { ...xvnc.state, request, personUid: account.uid })
      throw error
    }
  }

  #forgetWhenEnded(display: Display): void {
    void display.ended.then(() => this.#sessions.delete(display.sessionId))
  }
}

function checkRequest(request: DisplayRequest): void {
  const { sessionId, program, width, height, limits } = request
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(sessionId))
    wrong(`expected a session id, got ${JSON.stringify(sessionId)}`)
  if (program.kind === 'application' && !program.command[0]) wrong('expected a command, got an empty one')
  for (const side of [width, height])
    if (!Number.isInteger(side) || side < 64 || side > 16_384)
      wrong(`expected 64 to 16384 pixels, got ${side}`)
  for (const limit of Object.values(limits))
    if (!Number.isInteger(limit) || limit < 1) wrong(`expected limits of at least 1, got ${limit}`)
}

function wrong(what: string): never {
  throw new DisplayError('DISPLAY_BAD_REQUEST', what)
}

/** People's processes must get through to their own part of it, and see nothing on the way. */
async function openFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o711 })
  const found = await stat(folder)
  if (found.uid !== 0 || (found.mode & 0o022) !== 0)
    throw unfit(`${folder} can be changed by others than root`)
  if ((found.mode & 0o001) === 0) await chmod(folder, 0o711)
  for (let parent = dirname(folder); parent !== dirname(parent); parent = dirname(parent))
    if (((await stat(parent)).mode & 0o001) === 0)
      throw unfit(`people's sessions cannot get through ${parent} to ${folder}`, `Run: chmod o+x ${parent}`)
}

/** Each session has a folder of its own mounted over it, where it can. */
async function makeXSocketFolder(): Promise<void> {
  await mkdir(xSockets, { recursive: true })
  const found = await lstat(xSockets)
  if (!found.isDirectory() || found.uid !== 0) throw unfit(`${xSockets} is not a directory of root`)
  await chmod(xSockets, 0o1777)
}

/** Takes the run directory for this process, also from a dead one. */
async function claim(runDir: string): Promise<void> {
  const file = claimFile(runDir)
  const self = await identify(process.pid)
  for (;;) {
    const failure = await writeFile(file, JSON.stringify(self), { flag: 'wx', mode: 0o600 }).then(
      () => undefined,
      (cause: NodeJS.ErrnoException) => cause,
    )
    if (failure === undefined) return
    if (failure.code !== 'EEXIST') throw failure
    const owner = await readOwner(file)
    if (owner && (await isRunning(owner)))
      throw new DisplayError('DISPLAY_RUN_DIR_BUSY', `process ${owner.pid} runs the displays of ${runDir}`, {
        remedy: 'Stop that host agent, or give this one another state directory.',
      })
    await rm(file, { force: true })
  }
}

async function readOwner(file: string): Promise<ProcessId | undefined> {
  try {
    const { pid, startTime } = JSON.parse(await readFile(file, 'utf8')) as Partial<ProcessId>
    return typeof pid === 'number' && typeof startTime === 'string' ? { pid, startTime } : undefined
  } catch {
    return undefined
  }
}

function claimFile(runDir: string): string {
  return join(runDir, 'agent.json')
}

function unfit(message: string, remedy?: string): DisplayError {
  return new DisplayError('DISPLAY_RUN_DIR_UNFIT', message, remedy === undefined ? {} : { remedy })
}
