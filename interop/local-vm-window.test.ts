import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test, vi } from 'vitest'
import { games } from './as-account.rig.ts'
import { commandAs, openDesk, startDeskVm } from './desk-vm.rig.ts'
import { until } from './running-site.rig.ts'

/** The window in which a person sees a VM of their device: TigerVNC's viewer, on an X server of theirs. */
vi.setConfig({ testTimeout: 300_000 })

const run = promisify(execFile)

test('a VM opens in a window of whoever asked: one viewer, its picture, and what is typed there reaches it', async () => {
  await using screen = await startScreen()
  await using desk = await startDeskVm()
  await openDesk(desk, games, { DISPLAY: screen.display })
  await until(async () => (await viewers()) === 1, 'one viewer is attached')
  await until(async () => (await screen.colours()) > 1, 'something is drawn')
  let [before, now] = [await screen.picture(), await screen.picture()]
  await until(async () => {
    ;[before, now] = [now, await screen.picture()]
    return differing(before, now) < glyphPixels
  }, 'the guest waits for a key')
  await screen.type('W')
  await until(async () => differing(before, await screen.picture()) >= glyphPixels, 'what is typed is drawn')
  expect(await usersOf('vncviewer')).toContain('games')
  const socket = await theirs()
  expect(await stat(socket)).toMatchObject({ uid: games.uid, mode: 0o140600 })
  // Nobody but the service puts anything beside it, or in its place.
  expect(await stat(dirname(socket))).toMatchObject({ uid: 0, mode: 0o40711 })

  async function listed(): Promise<{ viewers: number; display: string } | undefined> {
    const { stdout } = await commandAs(games, ['vm', 'list', '--json'], desk.service)
    return (JSON.parse(stdout) as { vms: { viewers: number; display: string }[] }).vms[0]
  }

  async function viewers(): Promise<number | undefined> {
    return (await listed())?.viewers
  }

  async function theirs(): Promise<string> {
    return (await listed())?.display ?? ''
  }
})

/** More than a cursor that blinks. */
const glyphPixels = 40

interface Screen extends AsyncDisposable {
  /** `:N` */
  readonly display: string
  /** How many colours are on it. */
  colours(): Promise<number>
  /** RGB, row by row. */
  picture(): Promise<Buffer>
  type(key: string): Promise<void>
}

/** An X server that lets every account of this machine in. */
async function startScreen(): Promise<Screen> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-screen-'))
  const number = 6000 + (process.pid % 1000)
  const display = `:${number}`
  const rfb = ['-rfbport', '0', '-rfbunixpath', join(folder, 'rfb'), '-SecurityTypes', 'None']
  const server = spawn('Xvnc', [display, '-ac', '-nolisten', 'tcp', '-geometry', '800x600', ...rfb], {
    stdio: 'ignore',
  })
  await until(() => existsSync(`/tmp/.X11-unix/X${number}`), 'the X server is there')
  const importing = ['-display', display, '-window', 'root', '-depth', '8']
  const env = { ...process.env, DISPLAY: display }
  return {
    display,
    colours: async () => {
      const words = ['import', ...importing, 'png:-']
      const { stdout } = await run('sh', ['-c', `${words.join(' ')} | identify -format %k png:-`])
      return Number(stdout)
    },
    picture: async () => {
      const options = { encoding: 'buffer', maxBuffer: 16 << 20 } as const
      return (await run('import', [...importing, 'rgb:-'], options)).stdout
    },
    type: async (key) => {
      // No window manager gives the focus to anybody.
      const words = ['search', '--sync', '--onlyvisible', '--name', 'TigerVNC', 'windowfocus', '--sync']
      await run('xdotool', words, { env })
      await run('xdotool', ['key', key], { env })
    },
    [Symbol.asyncDispose]: async () => {
      const gone = once(server, 'exit')
      server.kill()
      await gone
      await rm(folder, { recursive: true })
    },
  }
}

function differing(a: Buffer, b: Buffer): number {
  let count = 0
  for (let at = 0; at < a.length; at += 3)
    if ([0, 1, 2].some((part) => Math.abs((a[at + part] ?? 0) - (b[at + part] ?? 0)) > 12)) count += 1
  return count
}

/** Whose programs of this name run. */
async function usersOf(program: string): Promise<readonly string[]> {
  const { stdout } = await run('ps', ['-C', program, '-o', 'user:32='])
  return stdout.split('\n').map((user) => user.trim())
}
