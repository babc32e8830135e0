import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** Debian's own, which has Debian's modules. */
const python = '/usr/bin/python3'

/** A real bus of an account and a notification daemon on it: python3-dbusmock's, which prints each call that it gets. */
export interface DesktopBus extends AsyncDisposable {
  /** As `DBUS_SESSION_BUS_ADDRESS` has it. */
  readonly address: string
  /** The calls of `Notify`, a line each. */
  notices(): readonly string[]
}

export async function startDesktopBus(account: {
  readonly uid: number
  readonly gid: number
}): Promise<DesktopBus> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-bus-'))
  await chmod(folder, 0o777)
  const address = `unix:path=${join(folder, 'bus')}`
  const env = { PATH: process.env['PATH'], DBUS_SESSION_BUS_ADDRESS: address }
  const listNames = ['--print-reply', '--dest=org.freedesktop.DBus', '/', 'org.freedesktop.DBus.ListNames']
  const asked = async (): Promise<string> => (await run('dbus-send', listNames, { ...account, env })).stdout
  const bus = spawn('dbus-daemon', ['--session', '--nofork', '--print-address', `--address=${address}`], {
    ...account,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(bus.stdout, 'data')
  const daemon = spawn(python, ['-u', '-m', 'dbusmock', '--session', '--template', 'notification_daemon'], {
    ...account,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const heard: string[] = []
  createInterface(daemon.stdout).on('line', (line) => heard.push(line))
  while (!(await asked()).includes('org.freedesktop.Notifications')) {
    if (daemon.exitCode !== null) throw new Error('there is no notification daemon: install python3-dbusmock')
    await sleep(100)
  }
  return {
    address,
    notices: () => heard.filter((line) => line.includes('Notify')),
    [Symbol.asyncDispose]: async () => {
      for (const child of [daemon, bus]) await end(child)
      await rm(folder, { recursive: true })
    },
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill()
  await gone
}
