import { type ChildProcess, execFile } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import type { Stats } from 'node:fs'
import {
  chmod,
  chown,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { DisplayError } from '#core/broker/display.ts'
import type { Context } from './context.ts'
import { type Launch, launch, withLog } from './launch.ts'
import { keepingAbstractName, xSockets } from './namespaces.ts'
import { findProcesses, hasVariable, identify, killAll, type ProcessId, userOf } from './processes.ts'
import type { Size } from './rfb-probe.ts'
import { type DisplayState, folderOf, saveState } from './state.ts'
import { encodeXauthority } from './xauthority.ts'

const run = promisify(execFile)

interface Screen extends Size {
  readonly display: number
}

/** A display server without a person. */
export interface Xvnc {
  readonly state: DisplayState & { readonly server: ProcessId; readonly display: number }
  readonly child: ChildProcess
  /** What a client needs to be let onto the display. */
  readonly xauthority: Buffer
}

/** Above every user that Debian, systemd and containers hand out. */
const firstUid = 1_900_000_000
const uidCount = 2 ** 24
const startTimeoutMs = 15_000
/** Low ones are left to X servers of the machine. Without TCP none ends at a port: there are more than somebody could keep taken. */
const firstNumber = 1000
const endNumber = 2 ** 31
/** Characters of a log that a refusal has room for; its end says what went wrong. */
export const reasonLength = 400
const logKiB = 1024
/** How long the process behind the log pipe may take to write what a program said before it quit. */
const logDelayMs = 30

/**
 * Starts a display server under a user of its own, which exists nowhere else, so that no person's process can
 * open its RFB socket, trace it or signal it. Its state is on disk before its first process runs.
 *
 * @throws {DisplayError} DISPLAY_START_FAILED with its last words; nothing of it is left then
 */
export async function startXvnc(context: Context, size: Size, signal: AbortSignal): Promise<Xvnc> {
  const state: DisplayState = {
    id: `d${randomBytes(6).toString('hex')}`,
    uid: firstUid + randomInt(uidCount),
  }
  context.displays.add(state.id)
  try {
    await saveState(context.runDir, state)
    const xauthority = encodeXauthority(randomBytes(16))
    await makeFolder(context, state, xauthority)
    const cgroups = await context.cgroups.create(state.id)
    const display = randomInt(firstNumber, endNumber)
    const started = await startServer(context, state, { ...size, display }, cgroups, signal)
    const complete = { ...state, server: started.server, display }
    await saveState(context.runDir, complete)
    return { state: complete, child: started.child, xauthority }
  } catch (cause) {
    const log = await lastLines(context, state.id, reasonLength)
    await endDisplay(context, state.id, state)
    signal.throwIfAborted()
    if (cause instanceof DisplayError) throw cause
    throw new DisplayError(
      'DISPLAY_START_FAILED',
      `the display server did not start: ${log || causeOf(cause)}`,
      {
        cause,
      },
    )
  }
}

/**
 * Ends every process of a display, with whatever it left: warm, running, half-started or damaged. Idempotent.
 *
 * @param state absent when it was lost; then the cgroup and the owner of the folder tell what belonged to the display
 */
export async function endDisplay(
  context: Context,
  id: string,
  state: DisplayState | undefined,
): Promise<void> {
  await context.cgroups.kill(id)
  const uid = state?.uid ?? (await stat(folderOf(context.runDir, id).server).catch(() => undefined))?.uid
  if (uid !== undefined && uid >= firstUid) {
    await killAll(() => findProcesses(async (pid) => (await userOf(pid)) === uid))
    for (const shared of ['/tmp', xSockets]) await removeFrom(shared, uid, () => true)
  }
  if (state !== undefined && !context.cgroups.contain) await killWithoutCgroup(state)
  if (state?.personUid !== undefined) await removeDeadSockets(state.personUid)
  // rm never follows a link that another session of the same person swaps in meanwhile.
  await run('rm', ['-rf', '--one-file-system', '--', folderOf(context.runDir, id).path])
  context.displays.delete(id)
}

/** For when nothing was logged: what is missing may be the room for a log. */
export function causeOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The last words of a display and its programs, for a person to read. */
export async function lastLines(context: Context, id: string, length = 2000): Promise<string> {
  await delay(logDelayMs)
  const text = await readFile(folderOf(context.runDir, id).log, 'utf8').catch(() => '')
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.slice(-24).join('\n').slice(-length)
}

/**
 * The best that can be done without cgroups: the person's processes that still carry the session's variable
 * or stayed in its process session. One that drops both survives.
 */
async function killWithoutCgroup(state: DisplayState): Promise<void> {
  const { personUid, request, program } = state
  if (personUid === undefined || request === undefined) return
  await killAll(() =>
    findProcesses(
      async (pid, found) =>
        (await userOf(pid)) === personUid &&
        (found.session === program?.pid ||
          (await hasVariable(pid, `TRUSTCAST_SESSION=${request.sessionId}`))),
    ),
  )
}

async function makeFolder(context: Context, state: DisplayState, xauthority: Buffer): Promise<void> {
  const folder = folderOf(context.runDir, state.id)
  await mkdir(folder.server, { mode: 0o700 })
  await writeFile(folder.cookie, xauthority, { mode: 0o400 })
  await chown(folder.cookie, state.uid, state.uid)
  await chown(folder.server, state.uid, state.uid)
  await chmod(folder.server, 0o700)
  await mkdir(folder.xSockets)
  // As an X server expects it: it warns, and waits, where this is anybody's but root's.
  await chmod(folder.xSockets, 0o1777)
  await mkdir(folder.person, { mode: 0o711 })
  await run('mkfifo', ['-m', '600', folder.logPipe])
}

async function startServer(
  context: Context,
  state: DisplayState,
  screen: Screen,
  cgroups: readonly string[],
  signal: AbortSignal,
): Promise<{ child: ChildProcess; server: ProcessId }> {
  const folder = folderOf(context.runDir, state.id)
  // The display server must be the last that the kernel kills when the session's memory runs out.
  const how: Launch = {
    uid: state.uid,
    gid: state.uid,
    cgroups,
    variables: {},
    directory: '/',
    oomScore: -900,
  }
  const apart: Launch = { ...how, namespaces: (command) => context.namespaces.make(folder, command) }
  return withLog(folder.logPipe, async (pipe) => {
    const log = await open(folder.log, 'a', 0o600)
    // Reads on after the bound, so that a program which talks a lot neither fills the disk nor stops.
    const keep = ['sh', '-c', `dd bs=1024 count=${logKiB} 2>/dev/null; exec cat >/dev/null`]
    try {
      await launch(how, keep, [pipe, log.fd, 'ignore'])
    } finally {
      await log.close()
    }
    const child = await launch(apart, xvncCommand(folder, screen), ['ignore', pipe, pipe, 'pipe'])
    await untilReady(child, signal)
    const server = await identify(child.pid ?? 0)
    if (server === undefined) throw new Error('it ended at once')
    return { child, server }
  })
}

function xvncCommand(folder: { socket: string; cookie: string }, screen: Screen): readonly string[] {
  const display = [`:${screen.display}`, '-displayfd', '3', '-auth', folder.cookie]
  const closed = ['-nolisten', 'tcp', '-nolisten', 'local']
  const shown = ['-depth', '24', '-geometry', `${screen.width}x${screen.height}`, '-desktop', 'Trustcast']
  const listen = ['-rfbport', '-1', '-rfbunixpath', folder.socket, '-rfbunixmode', '0600']
  // All viewers come through one socket, which the black-list would take for one misbehaving host.
  const admit = ['-SecurityTypes', 'None', '-UseBlacklist=0', '-AlwaysShared']
  // The host agent's filter sets the size a person may move; this only keeps the server out of its way.
  const flow = ['-FrameRate', '60', '-MaxCutText', String(16 * 1024 * 1024)]
  const server = ['Xvnc', ...display, ...closed, ...shown, ...listen, ...admit, ...flow]
  return keepingAbstractName(screen.display, server)
}

/** Clients can connect when the server writes its number and, in a second write that must not fail, the end of the line. */
async function untilReady(child: ChildProcess, signal: AbortSignal): Promise<void> {
  const pipe = child.stdio[3]
  if (!pipe || !('read' in pipe)) throw new Error('no pipe for the display number')
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(startTimeoutMs)])
  for await (const chunk of addAbortSignal(deadline, pipe)) if (String(chunk).includes('\n')) return
  throw new Error('it ended before clients could connect')
}

/** What programs that were killed left in /tmp, such as their message bus; another session of the person may have some that live. */
async function removeDeadSockets(personUid: number): Promise<void> {
  const bound = (await readFile('/proc/net/unix', 'utf8')).split('\n').map((line) => line.split('/').at(-1))
  const alive = new Set(bound)
  await removeFrom('/tmp', personUid, (name, found) => found.isSocket() && !alive.has(name))
}

async function removeFrom(
  folder: string,
  uid: number,
  isLeft: (name: string, found: Stats) => boolean,
): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const found = await lstat(path).catch(() => undefined)
    if (found?.uid === uid && isLeft(name, found)) await unlink(path).catch(() => undefined)
  }
}
