import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import {
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runInSandbox, type SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'

const run = promisify(execFile)
const uid = 12_345
const applets = [
  'sh',
  'ls',
  'cat',
  'ps',
  'id',
  'touch',
  'sleep',
  'env',
  'mount',
  'mknod',
  'nc',
  'grep',
  'true',
]

let folder: string
let root: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sandbox-'))
  // 0700, as a disk's own folder is: nobody else reaches what is mounted there.
  await chmod(folder, 0o700)
  root = join(folder, 'root')
  for (const name of ['bin', 'etc', 'proc', 'dev', 'tmp', 'home/other', 'run', 'usr', 'var/tmp'])
    await mkdir(join(root, name), { recursive: true })
  await cp('/bin/busybox', join(root, 'bin/busybox'))
  for (const name of applets) await symlink('busybox', join(root, 'bin', name))
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\n')
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n')
  await symlink('../run/resolver/resolv.conf', join(root, 'etc/resolv.conf'))
  await chmod(join(root, 'var/tmp'), 0o1777)
})

afterAll(() => rm(folder, { recursive: true }))

type Wishes = Partial<SandboxRequest>

function request(script: string, wishes: Wishes = {}): SandboxRequest {
  return {
    root,
    command: '/bin/sh',
    args: ['-c', script],
    env: {},
    user: { uid, gid: uid, name: 'ann' },
    home: { path: '/home/ann', from: 'memory' },
    network: false,
    signal: new AbortController().signal,
    ...wishes,
  }
}

/** Runs a script in a sandbox. */
async function inside(script: string, wishes: Wishes = {}): Promise<{ exitCode: number; said: string }> {
  let said = ''
  const onOutput = (bytes: Uint8Array): void => void (said += String(bytes))
  const { exitCode } = await runInSandbox(request(script, { onOutput, ...wishes }))
  return { exitCode, said }
}

/** Processes of the person outside of any sandbox or in one. */
async function processesOfPerson(): Promise<readonly string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const owned = await Promise.all(
    pids.map(async (pid) => {
      const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
      return text.includes(`Uid:\t${uid}\t`) && !/^State:\tZ/m.test(text)
    }),
  )
  return pids.filter((_, index) => owned[index])
}

test('passes on how the command ended', async () => {
  expect((await inside('exit 7')).exitCode).toBe(7)
  expect((await inside('kill -9 $$')).exitCode).toBe(137)
  expect((await inside('true')).exitCode).toBe(0)
  expect(await inside('echo out; echo err >&2')).toMatchObject({
    said: expect.stringMatching(/out\nerr|err\nout/),
  })
})

test('a command that the disk does not have is told from one that fails', async () => {
  await expect(inside('', { command: '/bin/nothing', onOutput: () => {} })).rejects.toMatchObject({
    code: 'SANDBOX_FAILED',
    message: expect.stringContaining('/bin/nothing'),
  })
  const rootless = { root: join(folder, 'missing'), onOutput: () => {} }
  await expect(inside('true', rootless)).rejects.toMatchObject({ code: 'SANDBOX_FAILED' })
})

test('the command is the person, with a home and without rights', async () => {
  const { said } = await inside(
    'id; id -un; pwd; echo $HOME; ls -ld . /run/user/*; cat /proc/self/status; grep ann /etc/passwd',
  )
  expect(said).toContain(`uid=${uid}(ann) gid=${uid}(ann)`)
  expect(said).toMatch(/^ann\n\/home\/ann\n\/home\/ann\n/m)
  expect(said).toMatch(/drwx------ .* ann .* \.\n/)
  expect(said).toContain(`/run/user/${uid}`)
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
    expect(said).toMatch(new RegExp(`${set}:\\s0+\\n`))
  }
  expect(said).toMatch(/NoNewPrivs:\s1/)
  expect(said).toMatch(/Groups:\s+\n/)
  expect(await readFile(join(root, 'etc/passwd'), 'utf8')).not.toContain('ann')
})

test('nothing of this machine is seen: no files, no processes, no environment, no descriptors', async () => {
  const secret = join(folder, 'secret')
  await writeFile(secret, 'of the machine', { mode: 0o644 })
  process.env['TRUSTCAST_TEST_SECRET'] = 'of the machine'
  const script = `cat ${secret}; cat /oldroot/etc/hostname; ls -a / /home /tmp /run /mnt; env; ps; ls -l /proc/self/fd`
  const { said } = await inside(`${script}; cat /proc/1/environ`, { env: { GIVEN: 'yes' } }).finally(() => {
    delete process.env['TRUSTCAST_TEST_SECRET']
  })
  expect(said).not.toContain('of the machine')
  expect(said).not.toContain(folder.split('/').at(-1)!.concat('\n'))
  expect(said).not.toContain('other')
  expect(said).toContain('GIVEN=yes')
  const pids = said.split('\n').filter((line) => /^ +\d+ /.test(line))
  expect(pids.length).toBeLessThanOrEqual(4)
  expect(said).not.toMatch(/ -> \/(?!dev\/null|proc)\S/)
  expect(said).not.toContain(process.execPath)
})

test('what the environment holds is on no command line', async () => {
  const running = runInSandbox(request('sleep 1', { env: { PASSWORD: 'unspeakable' } }))
  await expect.poll(processesOfPerson).not.toEqual([])
  expect((await run('ps', ['-eww', '-o', 'args'])).stdout).not.toContain('unspeakable')
  await running
})

test('nothing can be written, mounted or made but where the person may', async () => {
  const outside = join(folder, 'outside')
  await mkdir(outside, { recursive: true, mode: 0o777 })
  const script = `touch /x; touch /etc/x; touch ${outside}/x; mknod /tmp/sda b 8 0; mount -t tmpfs none /var; touch /tmp/a /var/tmp/b ~/c && echo written`
  const { said } = await inside(script)
  for (const path of ['/x', '/etc/x', `${outside}/x`]) expect(said).toContain(`touch: ${path}: `)
  expect(said).toMatch(/mknod: \/tmp\/sda: Operation not permitted/)
  expect(said).toMatch(/mount: permission denied/i)
  expect(said).toContain('written')
  expect(await readdir(outside)).toEqual([])
  expect((await stat(join(root, 'var/tmp/b'))).uid).toBe(uid)
  expect(existsSync(join(tmpdir(), 'a'))).toBe(false)
})

test('there is no network unless it is allowed', async () => {
  const server = createServer((socket) => socket.end('hello'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const script = `nc 127.0.0.1 ${port} </dev/null; ls /sys/class/net 2>/dev/null; cat /etc/resolv.conf`
  try {
    const without = await inside(script)
    expect(without.said).not.toContain('hello')
    const allowed = await inside(script, { network: true })
    expect(allowed.said).toContain('hello')
    expect(allowed.said).toContain((await readFile('/etc/resolv.conf', 'utf8')).trim())
  } finally {
    server.close()
  }
})

test('the home is on the disk, or a folder of this machine, when that is asked for', async () => {
  const onDisk: Wishes = { home: { path: '/home/ann', from: 'disk' } }
  await inside('echo kept > ~/file', onDisk)
  expect((await inside('cat ~/file', onDisk)).said).toBe('kept\n')
  expect((await stat(join(root, 'home/ann'))).mode & 0o777).toBe(0o700)
  expect((await inside('ls ~')).said).toBe('')

  const home = join(folder, 'home')
  await mkdir(home)
  await chown(home, uid, uid)
  const inFolder: Wishes = { home: { path: '/home/ann', from: { folder: home } } }
  await inside('echo elsewhere > ~/file', inFolder)
  expect(await readFile(join(home, 'file'), 'utf8')).toBe('elsewhere\n')
})

test('a disk whose files are links out of it leads nowhere', async () => {
  const evil = join(folder, 'evil')
  await cp(root, evil, { recursive: true, verbatimSymlinks: true })
  const secret = join(folder, 'shadow')
  await writeFile(secret, 'root:secret', { mode: 0o600 })
  for (const name of ['passwd', 'group']) {
    await rm(join(evil, 'etc', name))
    await symlink(secret, join(evil, 'etc', name))
  }
  const target = join(folder, 'target')
  await mkdir(target)
  await rm(join(evil, 'home'), { recursive: true })
  await symlink(target, join(evil, 'home'))
  const script = `cat /etc/passwd /etc/group; exit 3`
  const outcome = await inside(script, { root: evil, home: { path: '/home/ann', from: 'disk' } }).catch(
    String,
  )
  expect(JSON.stringify(outcome)).not.toContain('secret')
  expect(await readdir(target)).toEqual([])
})

test('only what was asked for of the screen is there', async () => {
  const display = 4000 + (process.pid % 1000)
  const xvnc = spawn(
    'Xvnc',
    [
      `:${display}`,
      '-rfbport',
      '0',
      '-rfbunixpath',
      join(folder, 'rfb'),
      '-SecurityTypes',
      'None',
      '-nolisten',
      'tcp',
    ],
    {
      stdio: 'ignore',
    },
  )
  try {
    await expect.poll(() => existsSync(`/tmp/.X11-unix/X${display}`)).toBe(true)
    const script = 'ls /tmp/.X11-unix; echo "display $DISPLAY"'
    const { said } = await inside(script, { display: { kind: 'x11', display: `:${display}` } })
    expect(said).toBe(`X${display}\ndisplay :${display}\n`)
    expect((await inside(script)).said).toContain('display \n')
  } finally {
    xvnc.kill()
    await once(xvnc, 'exit')
  }
  const socket = join(tmpdir(), `wayland-test-${process.pid}`)
  const server = createServer().listen(socket)
  await once(server, 'listening')
  const wayland = await inside('ls $XDG_RUNTIME_DIR; echo $WAYLAND_DISPLAY', {
    display: { kind: 'wayland', socket },
  })
  server.close()
  expect(wayland.said).toBe('wayland-0\nwayland-0\n')
  await expect(inside('true', { display: { kind: 'x11', display: 'elsewhere:1' } })).rejects.toMatchObject({
    code: 'SANDBOX_BAD_REQUEST',
  })
})

test('a real program draws on the screen', async () => {
  const display = 5000 + (process.pid % 1000)
  const xvnc = spawn(
    'Xvnc',
    [
      `:${display}`,
      '-rfbport',
      '0',
      '-rfbunixpath',
      join(folder, 'rfb2'),
      '-SecurityTypes',
      'None',
      '-nolisten',
      'tcp',
    ],
    {
      stdio: 'ignore',
    },
  )
  try {
    await expect.poll(() => existsSync(`/tmp/.X11-unix/X${display}`)).toBe(true)
    const { said, exitCode } = await inside('/usr/bin/xdpyinfo', {
      root: '/',
      display: { kind: 'x11', display: `:${display}` },
    })
    expect(said).toContain(`name of display:    :${display}`)
    expect(exitCode).toBe(0)
  } finally {
    xvnc.kill()
    await once(xvnc, 'exit')
  }
})

test('when it is given up, nothing of it is left', async () => {
  const ending = new AbortController()
  const running = inside('sleep 600 & sleep 600 & wait', { signal: ending.signal })
  await expect.poll(async () => (await processesOfPerson()).length).toBeGreaterThan(2)
  ending.abort(new Error('the lease is over'))
  await expect(running).rejects.toThrow('the lease is over')
  expect(await processesOfPerson()).toEqual([])
})

test('what the command left running ends with it', async () => {
  await inside('sleep 600 >/dev/null 2>&1 & exit 0')
  expect(await processesOfPerson()).toEqual([])
})

test('it dies when the process that runs it is killed', async () => {
  const { signal: _, ...wishes } = request('sleep 600 & sleep 600')
  const rig: ChildProcess = spawn(
    process.execPath,
    [join(import.meta.dirname, 'sandbox.rig.ts'), JSON.stringify(wishes)],
    { stdio: 'ignore' },
  )
  await expect.poll(async () => (await processesOfPerson()).length).toBeGreaterThan(2)
  rig.kill('SIGKILL')
  await expect.poll(processesOfPerson).toEqual([])
})

test('root, homes elsewhere and words with zero bytes are refused', async () => {
  const refused = { code: 'SANDBOX_BAD_REQUEST' }
  await expect(inside('true', { user: { uid: 0, gid: 0, name: 'root' } })).rejects.toMatchObject(refused)
  await expect(inside('true', { user: { uid, gid: uid, name: 'a:b' } })).rejects.toMatchObject(refused)
  for (const path of ['/home', '/home/../etc', 'home/ann', '/home/a:b', '/home/ann/deep']) {
    await expect(inside('true', { home: { path, from: 'memory' } })).rejects.toMatchObject(refused)
  }
  await expect(inside('true', { env: { A: 'b\0c' } })).rejects.toMatchObject(refused)
})
