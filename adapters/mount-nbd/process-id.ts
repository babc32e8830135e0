import { readFile } from 'node:fs/promises'

/** One process for ever: a pid alone may be handed to another process later. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks since boot, from /proc/PID/stat. */
  readonly startTime: string
}

/**
 * The lasting identity of a running process. A zombie is gone: an init that reaps late must not keep it alive.
 *
 * Spec: proc_pid_stat(5): state is field 3, starttime 22. The command may hold spaces and parentheses, so fields count
 * from its last `)`.
 *
 * @returns undefined when there is none
 */
export async function identify(pid: number): Promise<ProcessId | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, startTime] = [fields[0], fields[19]]
  return startTime === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTime }
}

export async function isRunning({ pid, startTime }: ProcessId): Promise<boolean> {
  return (await identify(pid))?.startTime === startTime
}
