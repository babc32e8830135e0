import { readdir, readFile, readlink } from 'node:fs/promises'

/** One run of a process; the start time tells it from a later one with the same number. */
export interface ProcessRun {
  readonly pid: number
  /** Clock ticks after boot, as in field 22 of `/proc/<pid>/stat`. */
  readonly startTicks: string
}

/**
 * The run that has this number now. A zombie counts as gone: where process 1 reaps late, `kill(pid, 0)` goes on succeeding
 * for seconds after a process has ended.
 */
export async function findRun(pid: number): Promise<ProcessRun | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // proc(5): "pid (comm) state …"; comm may itself hold spaces and parentheses.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, startTicks] = [fields?.[0], fields?.[19]]
  return startTicks === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTicks }
}

/** True while exactly this run goes on. */
export async function isRunning(run: ProcessRun): Promise<boolean> {
  return (await findRun(run.pid))?.startTicks === run.startTicks
}

/** All PostgreSQL processes that work in this data directory: a postmaster and its children have it as working directory. */
export async function findServers(dataDir: string): Promise<readonly ProcessRun[]> {
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [cwd, exe] = await Promise.all([linkOf(pid, 'cwd'), linkOf(pid, 'exe')])
      const isServer = cwd === dataDir && /\/postgres( \(deleted\))?$/.test(exe)
      return isServer ? findRun(Number(pid)) : undefined
    }),
  )
  return found.filter((run) => run !== undefined)
}

async function linkOf(pid: string, name: string): Promise<string> {
  return readlink(`/proc/${pid}/${name}`).catch(() => '')
}
