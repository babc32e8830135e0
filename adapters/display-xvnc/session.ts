import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { access, chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import {
  type Display,
  type DisplayEnd,
  DisplayError,
  type DisplayRequest,
  displayStartMs,
} from '#core/broker/display.ts'
import type { Account } from './account.ts'
import type { Context } from './context.ts'
import { sessionCommand } from './desktop.ts'
import { type Launch, launch, withLog } from './launch.ts'
import { programPath } from './packages.ts'
import { identify, isRunning, type ProcessId } from './processes.ts'
import { probe, resize } from './rfb-probe.ts'
import { type DisplayState, folderOf, saveState } from './state.ts'
import { causeOf, endDisplay, lastLines, reasonLength, type Xvnc } from './xvnc.ts'

const run = promisify(execFile)

/** The state of a session whose start was complete. */
export interface RunningState extends DisplayState {
  readonly server: ProcessId
  readonly display: number
  readonly request: DisplayRequest
  readonly program: ProcessId
  readonly startedAt: number
}

const watchMs = 500
const probeMs = 2000

/**
 * Runs a person's program on a display server. Resolves when the window manager has taken the display over.
 *
 * @throws {DisplayError} DISPLAY_START_FAILED with the last log lines; the caller ends the display then
 */
export async function startSession(
  context: Context,
  xvnc: Xvnc,
  account: Account,
  request: DisplayRequest,
  signal: AbortSignal,
): Promise<Display> {
  const { id } = xvnc.state
  const claimed: DisplayState = { ...xvnc.state, request, personUid: account.uid }
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(displayStartMs)])
  try {
    await saveState(context.runDir, claimed)
    const unlimited = await context.cgroups.limit(id, request.limits)
    if (unlimited.length > 0)
      context.log.warn({ sessionId: request.sessionId, unlimited }, 'this machine cannot enforce every limit')
    await makePersonFolder(context, xvnc, account)
    const [child] = await Promise.all([
      startProgram(context, xvnc, account, request),
      resize(folderOf(context.runDir, id).socket, request, deadline),
    ])
    await windowManager(context.namespaces.seenBy(xvnc.state.server, readyFile(context, id)), child, deadline)
    const program = await identify(child.pid ?? 0)
    if (program === undefined) throw new Error('the program quit at once')
    const state: RunningState = { ...xvnc.state, ...claimed, request, program, startedAt: Date.now() }
    await saveState(context.runDir, state)
    return openSession(context, state, [xvnc.child, child])
  } catch (cause) {
    signal.throwIfAborted()
    const log = await lastLines(context, id, reasonLength)
    throw new DisplayError(
      'DISPLAY_START_FAILED',
      `the session's programs did not start: ${log || causeOf(cause)}`,
      { cause },
    )
  }
}

/**
 * True when a session that another agent started still has all its parts. A display server that is silent is busy: only one that hangs up
 * or answers wrongly is none.
 */
export async function isWhole(context: Context, state: DisplayState | undefined): Promise<boolean> {
  if (state === undefined || !isComplete(state)) return false
  if (!(await isRunning(state.server)) || !(await isRunning(state.program))) return false
  const patience = AbortSignal.timeout(probeMs)
  return probe(folderOf(context.runDir, state.id).socket, patience).then(
    () => true,
    () => patience.aborted,
  )
}

/** False for a display that is warm or was on its way. */
export function isComplete(state: DisplayState): state is RunningState {
  return [state.server, state.display, state.request, state.program, state.startedAt].every(
    (part) => part !== undefined,
  )
}

/**
 * A session that runs. It is watched through /proc, because an adopted one is no child of ours; where the
 * processes are children, their exit only makes the watch look at once.
 */
export function openSession(
  context: Context,
  state: RunningState,
  children: readonly ChildProcess[] = [],
): Display {
  const { sessionId } = state.request
  const { promise: ended, resolve } = Promise.withResolvers<DisplayEnd>()
  let ending = false

  const finish = async (reason: DisplayEnd['reason']): Promise<void> => {
    if (ending) return
    ending = true
    clearInterval(timer)
    const wasKilled = reason !== 'stopped' && children.some(({ signalCode }) => signalCode === 'SIGKILL')
    const starved = wasKilled && (await context.cgroups.starved(state.id))
    const log = await lastLines(context, state.id)
    await endDisplay(context, state.id, state).catch((error: unknown) =>
      context.log.warn({ sessionId, error }, 'something of the session is left'),
    )
    const end = { reason: starved ? ('out-of-memory' as const) : reason, log }
    context.log.info({ sessionId, reason: end.reason }, 'session ended')
    resolve(end)
  }
  const look = async (): Promise<void> => {
    if (context.closing.aborted) clearInterval(timer)
    else if (!(await isRunning(state.server))) await finish('display-died')
    else if (!(await isRunning(state.program))) await finish('program-quit')
  }
  const timer = setInterval(() => void look(), watchMs).unref()
  for (const child of children) child.once('exit', () => void look())

  return {
    sessionId,
    socketPath: folderOf(context.runDir, state.id).socket,
    startedAt: state.startedAt,
    ended,
    async setClipboard(allowed) {
      const switches = [`AcceptCutText=${Number(allowed.in)}`, `SendCutText=${Number(allowed.out)}`]
      await configure(context, state, switches).catch((cause: unknown) => {
        throw new DisplayError('DISPLAY_ENDED', `the display of session ${sessionId} does not answer`, {
          cause,
        })
      })
    },
    async usage() {
      const pids = await context.cgroups.processes(state.id)
      const known = pids.length > 0 ? pids : [state.server.pid, state.program.pid]
      return {
        memoryBytes: (await context.cgroups.memory(state.id)) ?? (await residentBytes(known)),
        processes: known.length,
      }
    },
    async stop() {
      await finish('stopped')
      await ended
    },
  }
}

function readyFile(context: Context, id: string): string {
  return join(folderOf(context.runDir, id).person, 'ready')
}

/** The person's own copy of the cookie and a runtime directory, closed to everybody else. */
async function makePersonFolder(context: Context, xvnc: Xvnc, account: Account): Promise<void> {
  const { id, server } = xvnc.state
  const person = context.namespaces.seenBy(server, folderOf(context.runDir, id).person)
  await chmod(person, 0o700)
  await mkdir(join(person, 'run'), { mode: 0o700 })
  await writeFile(join(person, 'Xauthority'), xvnc.xauthority, { mode: 0o600 })
  for (const path of [join(person, 'Xauthority'), join(person, 'run'), person])
    await chown(path, account.uid, account.gid)
}

async function startProgram(
  context: Context,
  xvnc: Xvnc,
  account: Account,
  request: DisplayRequest,
): Promise<ChildProcess> {
  const { id, display, server } = xvnc.state
  const folder = folderOf(context.runDir, id)
  const how: Launch = {
    uid: account.uid,
    gid: account.gid,
    account: account.name,
    cgroups: await context.cgroups.create(id),
    namespaces: (command) => context.namespaces.enter(server, account.home, command),
    directory: account.home,
    oomScore: 200,
    variables: {
      HOME: account.home,
      USER: account.name,
      LOGNAME: account.name,
      SHELL: '/bin/bash',
      LANG: 'C.UTF-8',
      DISPLAY: `:${display}`,
      XAUTHORITY: join(folder.person, 'Xauthority'),
      XDG_RUNTIME_DIR: join(folder.person, 'run'),
      // Looks of X programs, and no search for an accessibility bus that is not there.
      XENVIRONMENT: join(context.desktop, 'Xresources'),
      NO_AT_BRIDGE: '1',
      TRUSTCAST_SESSION: request.sessionId,
    },
  }
  const command = sessionCommand(context.desktop, readyFile(context, id), request.program)
  return withLog(folder.logPipe, (pipe) => launch(how, command, ['ignore', pipe, pipe]))
}

/** openbox makes the file when it has taken the display over and is about to wait for events. */
async function windowManager(ready: string, child: ChildProcess, signal: AbortSignal): Promise<void> {
  // It may have quit while the size was set.
  const hasQuit = child.exitCode !== null || child.signalCode !== null
  const quit = (hasQuit ? Promise.resolve() : once(child, 'exit', { signal })).then(() => {
    throw new Error('the program quit before the window manager was ready')
  })
  const appear = async (): Promise<void> => {
    while (
      !(await access(ready).then(
        () => true,
        () => false,
      ))
    )
      await delay(4, undefined, { signal })
  }
  quit.catch(() => undefined)
  await Promise.race([quit, appear()])
}

async function configure(context: Context, state: RunningState, switches: readonly string[]): Promise<void> {
  const user = [`--reuid=${state.uid}`, `--regid=${state.uid}`, '--clear-groups', '--no-new-privs']
  const set = switches.flatMap((one) => ['-set', one])
  const env = {
    PATH: programPath,
    DISPLAY: `:${state.display}`,
    XAUTHORITY: folderOf(context.runDir, state.id).cookie,
  }
  const command = ['setpriv', ...user, 'tigervncconfig', ...set]
  const [program = '', ...args] = context.namespaces.enter(state.server, '/', command)
  await run(program, args, { env, timeout: 5000 })
}

async function residentBytes(pids: readonly number[]): Promise<number> {
  const texts = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/statm`, 'utf8').catch(() => '0 0')),
  )
  return texts.reduce((sum, text) => sum + Number(text.split(' ')[1]) * 4096, 0)
}
