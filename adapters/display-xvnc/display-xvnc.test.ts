import { execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Display, DisplayRequest, DisplayServer } from '#core/broker/display.ts'
import { ensureAccount } from './account.ts'
import { openCgroups, parseMountinfo } from './cgroup.ts'
import { installDesktop } from './desktop.ts'
import { createXvncDisplayServer, removeAccount } from './index.ts'
import { openNamespaces } from './namespaces.ts'
import { findProcesses, identify, userOf } from './processes.ts'
import { probe, resize } from './rfb-probe.ts'
import { startSession } from './session.ts'
import { startXvnc } from './xvnc.ts'

const run = promisify(execFile)
const quiet = { info: () => undefined, warn: () => undefined }
const never = new AbortController().signal
const module = new URL('index.ts', import.meta.url).href

let folder: string
let tag: string
let accounts: string[]
let servers: DisplayServer[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-'))
  await chmod(folder, 0o711)
  tag = randomBytes(4).toString('hex')
  accounts = ['a', 'b'].map((name) => `tc-test-${name}-${tag}`)
  servers = []
})

afterEach(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]()
  const last = await open()
  for (const display of await last.adopt()) await display.stop()
  await last[Symbol.asyncDispose]()
  for (const account of accounts) await removeAccount(account, join(folder, 'homes'))
  await rm(folder, { recursive: true })
  expect(strangers()).toEqual([])
})

test('a desktop shows a terminal in a home that is closed to others', async () => {
  const display = await (await serve()).start(request('one'), never)
  for (const program of ['"xterm" "XTerm"', '"tint2" "Tint2"'])
    await until(async () => (await windows(display)).includes(program))
  const home = await stat(join(folder, 'homes', accounts[0]!))
  expect(home.mode & 0o777).toBe(0o700)
  expect((await stat(display.socketPath)).mode & 0o777).toBe(0o600)
  const usage = await display.usage()
  expect(usage.processes).toBeGreaterThan(3)
  expect(usage.memoryBytes).toBeGreaterThan(1024 * 1024)
})

test('a display has the size asked for, also a warm one, and a viewer may change it', async () => {
  const server = await serve()
  server.prelaunch(1)
  await until(async () => server.warm === 1)
  const display = await server.start({ ...request('one'), width: 1000, height: 700 }, never)
  expect(await probe(display.socketPath, AbortSignal.timeout(5000))).toEqual({ width: 1000, height: 700 })
  await resize(display.socketPath, { width: 900, height: 640 }, AbortSignal.timeout(5000))
  expect(await probe(display.socketPath, AbortSignal.timeout(5000))).toEqual({ width: 900, height: 640 })
})

test('an account is discarded with its home and nothing else, and not while a session of it runs', async () => {
  const server = await serve()
  const [mine, theirs] = accounts.map((account) => join(folder, 'homes', account)) as [string, string]
  const display = await server.start(request('one'), never)
  await ensureAccount(accounts[1]!, 'Other', join(folder, 'homes'), never)
  await writeFile(join(theirs, 'file'), 'x')
  await expect(server.discard(accounts[0]!)).rejects.toMatchObject({ code: 'DISPLAY_ACCOUNT_IN_USE' })
  await display.stop()

  await symlink(theirs, join(mine, 'link'))
  await mkdir(join(mine, 'with space'))
  await run('mount', ['--bind', theirs, join(mine, 'with space')])
  await expect(server.discard(accounts[0]!)).rejects.toMatchObject({ code: 'DISPLAY_ACCOUNT_FAILED' })
  expect(await readdir(mine)).toContain('link')
  await run('umount', [join(mine, 'with space')])
  for (let time = 0; time < 2; time++) await server.discard(accounts[0]!)
  await expect(run('getent', ['passwd', accounts[0]!])).rejects.toThrow()

  // As after the machine was installed anew.
  await mkdir(join(mine, 'left'), { recursive: true })
  await server.discard(accounts[0]!)
  await symlink(theirs, mine)
  await expect(server.discard(accounts[0]!)).rejects.toMatchObject({ code: 'DISPLAY_ACCOUNT_FAILED' })
  await rm(mine)
  expect(await readdir(join(folder, 'homes'))).toEqual([accounts[1]])
  expect(await readFile(join(theirs, 'file'), 'utf8')).toBe('x')
})

test('the same session id gives the same display', async () => {
  const server = await serve()
  const [first, second] = await Promise.all([1, 2].map(() => server.start(request('one'), never)))
  expect(second).toBe(first)
})

test('nobody but root reaches a display server, a cookie or a home of another person', async () => {
  const server = await serve()
  const [one, two] = await Promise.all([
    server.start(request('one'), never),
    server.start({ ...request('two'), account: accounts[1]! }, never),
  ])
  const { display, server: xvnc } = await stateOf(one)
  const cookie = join(sessionFolder(one), 'p', 'Xauthority')
  const within = (path: string): string => `/proc/${xvnc.pid}/root${path}`
  const screen = `/tmp/.X11-unix/X${display}`
  const open = ['perl', '-MIO::Socket::UNIX', '-e', 'IO::Socket::UNIX->new(Peer => shift) or exit 9']
  const bind = 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("\\0" . shift)) or exit 9'
  const attempts = [
    [...open, one.socketPath],
    [...open, screen],
    [...open, within(screen)],
    [...open, join(sessionFolder(one), 'x', 'X11-unix', `X${display}`)],
    ['perl', '-MIO::Socket::UNIX', '-e', 'IO::Socket::UNIX->new(Peer => "\\0" . shift) or exit 9', screen],
    ['perl', '-MSocket', '-e', bind, screen],
    ['cat', cookie],
    ['cat', within(cookie)],
    ['ls', join(sessionFolder(one), 'x')],
    ['ls', join(folder, 'homes', accounts[0]!)],
    ['cat', join(sessionFolder(one), 'state.json')],
    ['cat', join(sessionFolder(one), 'log')],
    ['xprop', '-display', `:${display}`, '-root'],
  ]
  for (const attempt of attempts) await expect(as(accounts[1]!, attempt), attempt.join(' ')).rejects.toThrow()
  await expect(as(accounts[0]!, [...open, one.socketPath])).rejects.toThrow()
  for (const path of [one.socketPath, within(screen)]) await run(open[0]!, [...open.slice(1), path])
  await expect(readFile(within(cookie))).resolves.toBeDefined()
  await run(open[0]!, [...open.slice(1), two.socketPath])
})

test('what a session kept in memory and left in /tmp goes with it, and fills nothing that others need', async () => {
  const left = join('/tmp', `left-${tag}`)
  const fill = `
    perl -MIO::Socket::UNIX -e 'shmget(0, 1 << 20, 0600) // die; IO::Socket::UNIX->new(Local => shift, Listen => 1) or die' ${left}
    echo x >/dev/shm/${tag}
    head -c 200M /dev/zero >"$XDG_RUNTIME_DIR/full"
    touch "$HOME/done"
    exec sleep 1000`
  const display = await (await serve()).start(application('one', ['sh', '-c', fill]), never)
  await until(async () => readdirSync(join(folder, 'homes', accounts[0]!)).includes('done'))
  const { server } = await stateOf(display)
  const within = `/proc/${server.pid}/root`
  const full = await stat(`${within}${sessionFolder(display)}/p/run/full`)
  expect(full.size).toBeGreaterThan(0)
  expect(full.size).toBeLessThan(100 * 1024 * 1024)
  expect(readdirSync(`${within}/dev/shm`)).toEqual([tag])
  expect(readdirSync('/dev/shm')).not.toContain(tag)
  expect((await run('nsenter', [`--target=${server.pid}`, '--ipc', 'ipcs', '-m'])).stdout).toContain(
    '1048576',
  )
  expect((await run('ipcs', ['-m'])).stdout).not.toContain(full.uid.toString())
  expect((await run('ipcs', ['-m'])).stdout).not.toContain(accounts[0]!.slice(0, 10))
  expect((await stat(left)).isSocket()).toBe(true)
  await display.stop()
  await expect(stat(left)).rejects.toThrow()
})

test('a socket in /tmp of another session of the same person stays', async () => {
  const path = join('/tmp', `alive-${tag}`)
  const listen = 'IO::Socket::UNIX->new(Local => shift, Listen => 1) or die; sleep 1000'
  const server = await serve()
  const first = await server.start(
    application('one', ['perl', '-MIO::Socket::UNIX', '-e', `my $s = ${listen}`, path]),
    never,
  )
  const second = await server.start(application('two', ['sleep', '1000']), never)
  await until(async () => readdirSync('/tmp').includes(`alive-${tag}`))
  await second.stop()
  expect((await stat(path)).isSocket()).toBe(true)
  await first.stop()
  await expect(stat(path)).rejects.toThrow()
})

test('no display server listens on TCP', async () => {
  const display = await (await serve()).start(request('one'), never)
  const { server } = await stateOf(display)
  const listening = ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === '0A')
      .map((fields) => `socket:[${fields[9]}]`),
  )
  const held = readdirSync(`/proc/${server.pid}/fd`).map((fd) => readlinkSync(`/proc/${server.pid}/fd/${fd}`))
  expect(held.some((target) => target.startsWith('socket:'))).toBe(true)
  expect(held.filter((target) => listening.includes(target))).toEqual([])
})

test('the clipboard switches of the display server follow', async () => {
  const display = await (await serve()).start(request('one'), never)
  const setting = async (name: string): Promise<string> => x(display, ['tigervncconfig', '-get', name])
  await display.setClipboard({ in: false, out: true })
  expect([await setting('AcceptCutText'), await setting('SendCutText')]).toEqual(['0', '1'])
  await display.setClipboard({ in: true, out: false })
  expect([await setting('AcceptCutText'), await setting('SendCutText')]).toEqual(['1', '0'])
})

test('sessions outlive an agent that is killed, the next one adopts them, and nothing else is left', async () => {
  const code = `
    import { createXvncDisplayServer } from ${JSON.stringify(module)}
    const log = { info() {}, warn() {} }
    const server = await createXvncDisplayServer({ ...${JSON.stringify(options())}, log })
    await server.start(${JSON.stringify(request('one'))}, new AbortController().signal)
    server.prelaunch(1)
    while (server.warm < 1) await new Promise((resolve) => setTimeout(resolve, 20))
    console.log('started')
    setInterval(() => {}, 1000)`
  const agent = spawn(process.execPath, ['--input-type=module-typescript', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(agent.stdout, 'data')
  await expect(open()).rejects.toMatchObject({ code: 'DISPLAY_RUN_DIR_BUSY' })
  agent.kill('SIGKILL')
  await once(agent, 'exit')

  const server = await open()
  servers.push(server)
  const [display, ...others] = await server.adopt()
  expect(others).toEqual([])
  expect(display?.sessionId).toBe('one')
  expect((await server.start(request('one'), never)).socketPath).toBe(display!.socketPath)
  expect(await windows(display!)).toContain('Openbox')
  expect(await displays()).toHaveLength(1)
  await display!.stop()
  expect(await displays()).toEqual([])
  expect(await processesOf(accounts[0]!)).toEqual([])
})

test('an adopted session ends when its program quits', async () => {
  const first = await open()
  const started = await first.start(application('one', ['sleep', '1000']), never)
  await first[Symbol.asyncDispose]()
  const server = await open()
  servers.push(server)
  const [display] = await server.adopt()
  expect(display?.socketPath).toBe(started.socketPath)
  process.kill((await stateOf(display!)).program.pid)
  expect((await display!.ended).reason).toBe('program-quit')
})

test('a session whose display server is too busy to answer is adopted; one that answers wrongly is ended', async () => {
  const first = await open()
  const busy = await first.start(request('busy'), never)
  const deaf = await first.start(request('deaf'), never)
  await first[Symbol.asyncDispose]()
  const { server } = await stateOf(busy)
  process.kill(server.pid, 'SIGSTOP')
  await rm(deaf.socketPath)
  const second = await open()
  servers.push(second)
  try {
    expect((await second.adopt()).map(({ sessionId }) => sessionId)).toEqual(['busy'])
  } finally {
    process.kill(server.pid, 'SIGCONT')
  }
  expect(await displays()).toHaveLength(1)
})

test('a half-started display and damaged state of a dead agent are cleaned up', async () => {
  const first = await open()
  const display = await first.start(request('one'), never)
  const { server } = await stateOf(display)
  await first[Symbol.asyncDispose]()
  await writeFile(join(sessionFolder(display), 'state.json'), '{"id":')
  const second = await open()
  servers.push(second)
  expect(await second.adopt()).toEqual([])
  expect(await identify(server.pid)).toBeUndefined()
  expect(await displays()).toEqual([])
})

test('what a display server had in /tmp goes with it, however it ended', async () => {
  const display = await (await serve()).start(request('one'), never)
  const { uid, server, display: number } = await stateOf(display)
  // As one that is killed while its keymap is compiled leaves it.
  const keymap = `/tmp/server-${number}.xkm`
  await writeFile(keymap, '')
  await chown(keymap, uid, uid)
  process.kill(server.pid, 'SIGKILL')
  await display.ended
  await expect(stat(keymap)).rejects.toThrow()
})

test('a program that forks twice, leaves its session and clears its environment ends with the session', async () => {
  const escape = '(setsid env -i sh -c "sleep 4242 & exec sleep 4242" &); exec sleep 4242'
  const display = await (await serve()).start(application('one', ['sh', '-c', escape]), never)
  await until(async () => (await processesOf(accounts[0]!, 'sleep')).length === 3)
  await display.stop()
  expect(await processesOf(accounts[0]!)).toEqual([])
  expect((await display.ended).reason).toBe('stopped')
})

test('the session ends when its application quits, with its last words', async () => {
  const command = ['sh', '-c', 'sleep 1; echo good night >&2']
  const display = await (await serve()).start(application('one', command), never)
  const end = await display.ended
  expect(end.reason).toBe('program-quit')
  expect(end.log).toContain('good night')
  expect(await displays()).toEqual([])
  expect(await processesOf(accounts[0]!)).toEqual([])
})

test('an application fills the screen without decoration', async () => {
  const display = await (await serve()).start(application('one', ['xterm']), never)
  await until(async () =>
    /"xterm" "XTerm"\) {2}12\d\dx(79\d|800)\+0\+0 {2}\+0\+0/.test(await windows(display)),
  )
})

test('a program that does not exist is a coded error that says so, and leaves nothing', async () => {
  const server = await serve()
  const failure = server.start(application('one', ['no-such-program']), never)
  await expect(failure).rejects.toMatchObject({
    code: 'DISPLAY_START_FAILED',
    message: expect.stringContaining('no-such-program'),
  })
  expect(await displays()).toEqual([])
})

test('an abandoned start leaves nothing', async () => {
  const server = await serve()
  const abort = new AbortController()
  const start = server.start(request('one'), abort.signal)
  await until(async () => (await displays()).length === 1)
  abort.abort()
  await expect(start).rejects.toMatchObject({ name: 'AbortError' })
  expect(await displays()).toEqual([])
})

test('the memory limit ends a hog and spares its display; where the hog is the application, the session says why it ends', async () => {
  const hog = 'tail /dev/zero; : >"$HOME/survived"; exec sleep 1000'
  const server = await serve()
  const start = (id: string, command: string[]) => {
    const request = application(id, command)
    return server.start({ ...request, limits: { ...request.limits, memoryMiB: 256 } }, never)
  }
  const display = await start('one', ['sh', '-c', hog])
  await until(async () =>
    stat(join(folder, 'homes', accounts[0]!, 'survived')).then(
      () => true,
      () => false,
    ),
  )
  expect(await probe(display.socketPath, AbortSignal.timeout(5000))).toEqual({ width: 1280, height: 800 })
  expect((await (await start('two', ['sh', '-c', 'sleep 1; exec tail /dev/zero'])).ended).reason).toBe(
    'out-of-memory',
  )
})

test('the process limit stops a program that only forks', async () => {
  const forker = 'sleep 1; while :; do sleep 1000 & done 2>/dev/null; sleep 1000'
  const start = application('one', ['bash', '-c', forker])
  const display = await (await serve()).start({ ...start, limits: { ...start.limits, processes: 40 } }, never)
  await until(async () => (await display.usage()).processes >= 35)
  expect((await display.usage()).processes).toBeLessThanOrEqual(40)
  await display.stop()
  expect(await processesOf(accounts[0]!)).toEqual([])
})

test('as many displays stay warm as asked, also when one is taken or dies', async () => {
  const server = await serve()
  server.prelaunch(2)
  await until(async () => server.warm === 2)
  const display = await server.start(request('one'), never)
  await until(async () => server.warm === 2 && (await displays()).length === 3)
  const warm = (await displays()).find((id) => join(folder, 'run', id) !== sessionFolder(display))!
  process.kill(
    JSON.parse(await readFile(join(folder, 'run', warm, 'state.json'), 'utf8')).server.pid,
    'SIGKILL',
  )
  await until(async () => server.warm === 2 && !(await displays()).includes(warm))
  server.prelaunch(0)
  await until(async () => server.warm === 0 && (await displays()).length === 1)
})

test('an account that was not made here is never used', async () => {
  const server = await serve()
  for (const account of ['root', 'nobody', 'games'])
    await expect(server.start({ ...request('one'), account }, never), account).rejects.toMatchObject({
      code: 'DISPLAY_ACCOUNT_FOREIGN',
    })
  await expect(removeAccount('games', join(folder, 'homes'))).rejects.toMatchObject({
    code: 'DISPLAY_ACCOUNT_FOREIGN',
  })
  await ensureAccount(accounts[0]!, 'One: of, ours\n', join(folder, 'homes'), never)
  await expect(ensureAccount(accounts[0]!, 'One', join(folder, 'elsewhere'), never)).rejects.toMatchObject({
    code: 'DISPLAY_ACCOUNT_FOREIGN',
  })
})

test('accounts made at the same moment do not hinder each other', async () => {
  await mkdir(join(folder, 'homes'), { mode: 0o711 })
  const names = [...accounts, ...accounts, ...accounts]
  const made = await Promise.all(
    names.map((name) => ensureAccount(name, 'Some One', join(folder, 'homes'), never)),
  )
  expect(new Set(made.map((account) => account.uid)).size).toBe(2)
})

test('a home that came from another machine stays whose it was with all that is in it, and nobody else is given its number', async () => {
  const homes = join(folder, 'homes')
  const [mine = '', other = ''] = accounts
  const letter = join(homes, mine, 'drafts/letter')
  await mkdir(homes, { mode: 0o711 })
  const bring = async (uid: number): Promise<void> => {
    await mkdir(join(homes, mine, 'drafts'), { recursive: true })
    await writeFile(letter, 'dear all', { mode: 0o600 })
    await run('chown', ['--recursive', `${uid}:${uid}`, join(homes, mine)])
  }
  await bring(41_017)
  const { uid } = await ensureAccount(other, 'Other', homes, never)
  expect(uid).toBeGreaterThan(41_017)
  expect(await ensureAccount(mine, 'Mine', homes, never)).toMatchObject({ uid: 41_017 })
  expect(await as(mine, ['cat', letter])).toBe('dear all')
  // Where another account has the number already.
  await removeAccount(mine, homes)
  await bring(uid)
  expect((await ensureAccount(mine, 'Mine', homes, never)).uid).not.toBe(uid)
  expect(await as(mine, ['cat', letter])).toBe('dear all')
  await expect(as(other, ['cat', letter])).rejects.toThrow()
})

test('nobody but root keeps accounts from being made, and who waits for one can be told to stop', async () => {
  const lock = '/run/trustcast-accounts.lock'
  const homes = join(folder, 'homes')
  await mkdir(homes, { mode: 0o711 })
  await writeFile(lock, '')
  await chmod(lock, 0o644)
  await ensureAccount(accounts[0]!, 'One', homes, never)
  await expect(as(accounts[0]!, ['flock', lock, 'true'])).rejects.toThrow('cannot open lock file')

  const holder = spawn('flock', [lock, 'sh', '-c', 'echo locked; exec cat'], { stdio: 'pipe' })
  try {
    await once(holder.stdout, 'data')
    const abort = new AbortController()
    const waiting = ensureAccount(accounts[1]!, 'Two', homes, abort.signal)
    waiting.catch(() => undefined)
    await until(async () => {
      const commands = findProcesses(async (pid) => {
        const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
        return command.startsWith('flock') && command.includes(accounts[1]!)
      })
      return (await commands).length > 0
    })
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' })
  } finally {
    holder.stdin.end()
    await once(holder, 'exit')
  }
})

test('freezing ends a program that forks all the time where there is no cgroup.kill', async () => {
  const mounts = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))
  const { unified: _, ...version1 } = mounts
  const cgroups = await openCgroups(tag, version1.freezer === undefined ? mounts : version1)
  const [join1] = await cgroups.create('one')
  const forker =
    'echo 0 >"$1/cgroup.procs"; f() { sleep 0.01; f & f & }; for i in 1 2 3; do sleep 1000 & done; exec sleep 1000'
  const tracked = version1.freezer === undefined ? join1! : join(version1.freezer, `trustcast-${tag}`, 'one')
  const child = spawn('bash', ['-c', forker, 'bash', tracked], { detached: true, stdio: 'ignore' })
  await until(async () => (await cgroups.processes('one')).length === 4)
  await cgroups.kill('one')
  expect(child.pid === undefined ? undefined : await identify(child.pid)).toBeUndefined()
  expect(await cgroups.list()).toEqual([])
  await cgroups.close()
  await expect(stat(dirname(tracked))).rejects.toThrow()
})

test('without cgroups a session still ends with the programs that carry its mark', async () => {
  const context = {
    runDir: join(folder, 'run'),
    homesDir: join(folder, 'homes'),
    desktop: join(folder, 'run', 'desktop'),
    cgroups: await openCgroups(tag, {}),
    namespaces: await openNamespaces(quiet),
    log: quiet,
    displays: new Set<string>(),
    closing: never,
  }
  await mkdir(context.homesDir, { mode: 0o711 })
  await mkdir(context.runDir, { mode: 0o711 })
  await installDesktop(context.desktop)
  const account = await ensureAccount(accounts[0]!, 'One', context.homesDir, never)
  const xvnc = await startXvnc(context, { width: 800, height: 600 }, never)
  const wanted = application('one', ['sh', '-c', '(setsid sleep 4242 &); exec sleep 4242'])
  const display = await startSession(context, xvnc, account, wanted, never)
  await until(async () => (await processesOf(accounts[0]!, 'sleep')).length === 2)
  await display.stop()
  expect(await processesOf(accounts[0]!)).toEqual([])
  expect(await displays()).toEqual([])
})

test('what is unmounted on the machine is held by no session that began before', async () => {
  const server = await serve()
  const place = join(folder, 'mounted')
  await mkdir(place)
  await run('mount', ['-t', 'tmpfs', 'tmpfs', place])
  const { server: xvnc } = await stateOf(await server.start(request('one'), never))
  const mounts = (): string => readFileSync(`/proc/${xvnc.pid}/mounts`, 'utf8')
  expect(mounts()).toContain(place)
  await run('umount', [place])
  expect(mounts()).not.toContain(place)
})

test('where root may make no namespaces, as in a container, sessions run without, which is said; nothing of them stays', async () => {
  const code = `
    import { createXvncDisplayServer } from ${JSON.stringify(module)}
    const log = { info() {}, warn: (_fields, message) => console.log(message) }
    const server = await createXvncDisplayServer({ ...${JSON.stringify(options())}, log })
    const display = await server.start(${JSON.stringify(request('one'))}, new AbortController().signal)
    await display.setClipboard({ in: true, out: true })
    await display.stop()
    await server[Symbol.asyncDispose]()
    console.log('ended')`
  const contained = [
    '--bounding-set=-sys_admin',
    process.execPath,
    '--input-type=module-typescript',
    '-e',
    code,
  ]
  const { stdout } = await run('setpriv', contained)
  expect(stdout).toMatch(/no namespaces can be made here[^]*ended/)
  expect(await displays()).toEqual([])
  expect(await processesOf(accounts[0]!)).toEqual([])
  for (const folder of ['/tmp', '/tmp/.X11-unix'])
    for (const name of await readdir(folder)) {
      const found = await lstat(join(folder, name)).catch(() => undefined)
      expect(found?.uid ?? 0, name).not.toBeGreaterThanOrEqual(1_900_000_000)
    }
})

function options(): { runDir: string; homesDir: string; hostTag: string } {
  return { runDir: join(folder, 'run'), homesDir: join(folder, 'homes'), hostTag: tag }
}

async function open(): Promise<DisplayServer> {
  return createXvncDisplayServer({ ...options(), log: quiet })
}

async function serve(): Promise<DisplayServer> {
  const server = await open()
  servers.push(server)
  await server.adopt()
  return server
}

function request(sessionId: string): DisplayRequest {
  return {
    sessionId,
    account: accounts[0]!,
    fullName: 'Test Person',
    program: { kind: 'desktop' },
    width: 1280,
    height: 800,
    limits: { memoryMiB: 1024, processes: 200, cpuPercent: 100 },
  }
}

function application(sessionId: string, command: string[]): DisplayRequest {
  return { ...request(sessionId), program: { kind: 'application', command } }
}

function sessionFolder(display: Display): string {
  return dirname(dirname(display.socketPath))
}

async function stateOf(
  display: Display,
): Promise<{ uid: number; display: number; server: { pid: number }; program: { pid: number } }> {
  const text = await readFile(join(sessionFolder(display), 'state.json'), 'utf8')
  return JSON.parse(text) as Awaited<ReturnType<typeof stateOf>>
}

/** Runs an X client as root with the display's cookie. */
async function x(display: Display, argv: string[]): Promise<string> {
  const { display: number, server } = await stateOf(display)
  const env = {
    ...process.env,
    DISPLAY: `:${number}`,
    XAUTHORITY: join(dirname(display.socketPath), 'cookie'),
  }
  return (await run('nsenter', [`--target=${server.pid}`, '--mount', ...argv], { env })).stdout.trim()
}

async function windows(display: Display): Promise<string> {
  return x(display, ['xwininfo', '-root', '-tree'])
}

async function as(account: string, argv: string[]): Promise<string> {
  const uid = execFileSync('id', ['-u', account]).toString().trim()
  const user = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs']
  return (await run('setpriv', [...user, ...argv], { cwd: '/' })).stdout
}

async function processesOf(account: string, command = ''): Promise<readonly number[]> {
  const uid = Number(execFileSync('id', ['-u', account]).toString())
  return findProcesses(
    async (pid) =>
      (await userOf(pid)) === uid &&
      (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).startsWith(command),
  )
}

async function displays(): Promise<string[]> {
  return (await readdir(join(folder, 'run'))).filter((name) => /^d[0-9a-f]{12}$/.test(name))
}

/** Live processes that still speak of this test's folder. */
function strangers(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((pid) => {
      try {
        return (
          statSync(`/proc/${pid}`).uid !== 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder)
        )
      } catch {
        return false
      }
    })
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(50)
}
