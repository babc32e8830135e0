import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** One role of the site as a process of its own. */
export interface Part {
  readonly name: string
  /** Words for the command line. */
  readonly args: readonly string[]
}

export interface Supervisor {
  /** Starts a part and keeps it running: when it ends it is started again, at growing intervals. */
  keep(part: Part): void
  /** Pids of what runs now, by name. */
  pids(): Readonly<Record<string, number>>
  /** Ends every part, the last started first, and waits. */
  stop(): Promise<void>
}

/** Knows how each command is best run. */
const program = join(import.meta.dirname, '../../trustcast')
const longestPauseMs = 10_000
const healthyMs = 20_000
const stopMs = 8_000
const maxLogBytes = 20 * 1024 * 1024

/**
 * Runs the roles of a one-machine site beside each other. Each child watches its standard input and ends when this process does,
 * however that happened.
 *
 * @param logDir gets one file a part
 * @param onEnd told of parts that ended by themselves
 */
export function createSupervisor(logDir: string, onEnd: (name: string, how: string) => void): Supervisor {
  const running = new Map<string, ChildProcess>()
  const stopping = new AbortController()
  /** @returns how it ended; also when it could not even be started, as on a machine that has no room for a process */
  const runOnce = async (part: Part): Promise<string> => {
    try {
      const child = start(part, logDir)
      running.set(part.name, child)
      return await ended(child)
    } catch (error) {
      return String(error)
    } finally {
      running.delete(part.name)
    }
  }
  const run = async (part: Part): Promise<void> => {
    let pauseMs = 200
    while (!stopping.signal.aborted) {
      const startedAt = performance.now()
      const how = await runOnce(part)
      if (stopping.signal.aborted) return
      onEnd(part.name, how)
      pauseMs = performance.now() - startedAt > healthyMs ? 200 : Math.min(pauseMs * 2, longestPauseMs)
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const parts: Part[] = []
  return {
    keep: (part) => {
      parts.push(part)
      void run(part)
    },
    pids: () => Object.fromEntries([...running].map(([name, child]) => [name, child.pid ?? 0])),
    stop: async () => {
      stopping.abort()
      for (const { name } of parts.toReversed()) {
        const child = running.get(name)
        if (child !== undefined) await stopChild(child)
      }
    },
  }
}

function start({ name, args }: Part, logDir: string): ChildProcess {
  const log = openSync(rotated(join(logDir, `${name}.log`)), 'a', 0o600)
  try {
    return spawn(program, args, {
      stdio: ['pipe', log, log],
      env: { ...process.env, TRUSTCAST_SUPERVISED: '1' },
    })
  } finally {
    closeSync(log)
  }
}

/** A log that has grown large makes room: one old file is kept. */
function rotated(path: string): string {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > maxLogBytes) renameSync(path, `${path}.old`)
  return path
}

async function ended(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => resolve(signal === null ? `exit ${code}` : signal))
  })
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = ended(child)
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
  await gone
  clearTimeout(timer)
}

/** True in a process that a supervisor started. */
export function isSupervised(): boolean {
  return process.env['TRUSTCAST_SUPERVISED'] === '1'
}

/** For a supervised child: aborts when the supervisor is gone. */
export function supervisedSignal(signal: AbortSignal): AbortSignal {
  if (!isSupervised()) return signal
  const orphaned = new AbortController()
  process.stdin.once('end', () => orphaned.abort()).once('error', () => orphaned.abort())
  process.stdin.resume()
  // Watching for the end must not keep a process alive that is done.
  if ('unref' in process.stdin && typeof process.stdin.unref === 'function') process.stdin.unref()
  return AbortSignal.any([signal, orphaned.signal])
}
