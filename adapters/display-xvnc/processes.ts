import { readdir, readFile, stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

/** One process for ever: a pid alone may be handed to another process later. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks since boot, from /proc/PID/stat. */
  readonly startTime: string
}

/** What of /proc/PID/stat matters here. */
export interface ProcessStat {
  readonly state: string
  readonly session: number
  readonly startTime: string
}

/**
 * Decodes /proc/PID/stat. The command may hold spaces and parentheses, so fields count from its last `)`.
 *
 * Spec: proc_pid_stat(5): state is field 3, session 6, starttime 22.
 */
export function parseStat(text: string): ProcessStat | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, session, startTime] = [fields[0], Number(fields[3]), fields[19]]
  if (state === undefined || startTime === undefined || !Number.isInteger(session)) return undefined
  return { state, session, startTime }
}

/** The lasting identity of a running process; undefined when it is gone. */
export async function identify(pid: number): Promise<ProcessId | undefined> {
  const found = await statOf(pid)
  return found && isLive(found) ? { pid, startTime: found.startTime } : undefined
}

/** False also for a zombie: an init that reaps late must not keep a session alive. */
export async function isRunning(process: ProcessId): Promise<boolean> {
  const found = await statOf(process.pid)
  return found !== undefined && isLive(found) && found.startTime === process.startTime
}

/** Live processes for which `matches` holds. */
export async function findProcesses(
  matches: (pid: number, found: ProcessStat) => Promise<boolean>,
): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const hits = await Promise.all(
    pids.map(async (pid) => {
      const found = await statOf(pid)
      return found !== undefined && isLive(found) && (await matches(pid, found))
    }),
  )
  return pids.filter((_, index) => hits[index])
}

/** The user that a process runs as, -1 when it is gone. */
export async function userOf(pid: number): Promise<number> {
  return stat(`/proc/${pid}`).then(
    (found) => found.uid,
    () => -1,
  )
}

/** True if the process was started with this `NAME=value`. It may have overwritten its own copy since. */
export async function hasVariable(pid: number, variable: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  return environment.split('\0').includes(variable)
}

/** Sends SIGKILL; a process that is gone already is what was wanted. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ESRCH') throw cause
  }
}

/** Kills what `find` finds, again and again until it finds nothing: a process may fork while it is hunted. */
export async function killAll(find: () => Promise<readonly number[]>): Promise<void> {
  for (let round = 0; round < 2000; round++) {
    const pids = await find()
    if (pids.length === 0) return
    for (const pid of pids) kill(pid)
    await delay(5)
  }
  throw new Error(`processes outlive SIGKILL: ${(await find()).join(' ')}`)
}

function isLive(found: ProcessStat): boolean {
  return found.state !== 'Z' && found.state !== 'X'
}

async function statOf(pid: number): Promise<ProcessStat | undefined> {
  return readFile(`/proc/${pid}/stat`, 'utf8').then(parseStat, () => undefined)
}
