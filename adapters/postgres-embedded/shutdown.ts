import { setTimeout as sleep } from 'node:timers/promises'
import { isRunning, type ProcessRun } from './process-table.ts'

/** PostgreSQL's shutdown modes as signals to the postmaster, each with the time it gets before the next is tried. */
const modes: readonly (readonly [NodeJS.Signals, number])[] = [
  ['SIGINT', 30_000], // fast: transactions are rolled back, everything is flushed
  ['SIGQUIT', 5_000], // immediate: as after a crash, the next start recovers from the log
  ['SIGKILL', 5_000],
]

/** Ends a postmaster as gently as it lets itself be ended. */
export async function shutDown(postmaster: ProcessRun): Promise<void> {
  for (const [signal, waitMs] of modes) if (await endRun(postmaster, signal, waitMs)) return
}

/** Sends the signal if the run still goes on. @returns whether it has ended within `waitMs` */
export async function endRun(run: ProcessRun, signal: NodeJS.Signals, waitMs: number): Promise<boolean> {
  if (!(await isRunning(run))) return true
  try {
    process.kill(run.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
  return goneWithin(run, waitMs)
}

/** Waits for a run to end by itself. */
export async function goneWithin(run: ProcessRun, waitMs: number): Promise<boolean> {
  const deadline = performance.now() + waitMs
  while (await isRunning(run)) {
    if (performance.now() > deadline) return false
    await sleep(10)
  }
  return true
}
