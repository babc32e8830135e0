import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A clamd of Debian's clamav-daemon with one signature of our own, listening on a socket in a folder. */
export interface ClamdRig extends AsyncDisposable {
  /** Its clamd.conf. */
  readonly configuration: string
  /** Starts it, and waits until it listens. */
  start(): Promise<void>
  /** Ends it and waits until it has ended. */
  stop(signal?: NodeJS.Signals): Promise<void>
  /** Sends it a signal that does not end it. */
  signal(signal: NodeJS.Signals): void
  /** Makes the signatures as old as that. */
  date(at: Date): Promise<void>
}

/** @param dir an empty folder; clamd writes only there */
export async function makeClamd(dir: string): Promise<ClamdRig> {
  const configuration = join(dir, 'clamd.conf')
  const socket = join(dir, 'clamd.ctl')
  const signatures = join(dir, 'own.ndb')
  await writeFile(signatures, `Trustcast.Test.Text:0:*:${Buffer.from('TRUSTCAST-TEST').toString('hex')}\n`)
  const settings = {
    DatabaseDirectory: dir,
    LocalSocket: socket,
    PidFile: join(dir, 'clamd.pid'),
    LogFile: join(dir, 'clamd.log'),
    Foreground: 'yes',
    User: process.env['USER'] ?? 'root',
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key} ${value}`)
  await writeFile(configuration, `${lines.join('\n')}\n`)
  let running: ChildProcess | undefined
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    const child = running
    running = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
  return {
    configuration,
    start: async () => {
      const child = spawn('clamd', ['-c', configuration], { stdio: 'ignore' })
      running = child
      await once(child, 'spawn')
      while (!(await isThere(socket))) {
        if (child.exitCode !== null)
          throw new Error(`clamd ended with ${child.exitCode}; see ${dir}/clamd.log`)
        await sleep(50)
      }
    },
    stop,
    signal: (signal) => running?.kill(signal),
    date: async (at) => utimes(signatures, at, at),
    [Symbol.asyncDispose]: async () => stop('SIGKILL'),
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
