import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { tokenAnswer } from '#core/api/admin.ts'
import { deviceStatus } from '#core/api/handoff.ts'
import { end } from './network-namespace.rig.ts'
import { startSite, until } from './running-site.rig.ts'

/** The client as people install it: a Debian package, on a system that has nothing else of this project. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 240_000 })

const run = promisify(execFile)
const tree = resolve(import.meta.dirname, '..')
let undo: AsyncDisposableStack
let folder: string
let package_: string
let computer: Computer

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  folder = await mkdtemp(join(tmpdir(), 'tc-package-'))
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  package_ = await build(join(folder, 'one'))
  computer = undo.use(await startComputer(join(folder, 'computer')))
})
afterAll(() => undo.disposeAsync())

test('the same commit gives the same bytes, also in another folder and at another time', async () => {
  const copy = join(folder, 'copy')
  await mkdir(copy)
  // All of it is new there but what npm installed.
  await run('sh', ['-c', `ls -A | grep -vx node_modules | xargs -d '\\n' cp -r -t ${copy}`], { cwd: tree })
  await symlink(join(tree, 'node_modules'), join(copy, 'node_modules'))
  const again = await build(join(folder, 'two'), copy)
  await expect(run('cmp', [package_, again])).resolves.toMatchObject({ stdout: '' })
})

test('dpkg installs it, and its command runs as anybody', async () => {
  await computer.run(['dpkg', '-i', package_])
  const { stdout } = await computer.run(['setpriv', '--reuid=games', '--clear-groups', 'trustcast', 'help'])
  expect(stdout).toContain('enroll URL')
  await computer.run(['systemd-analyze', 'verify', '/lib/systemd/system/trustcast-endpoint.service'])
  await computer.run(['desktop-file-validate', '/usr/share/applications/trustcast.desktop'])
})

test('enrolled, what its unit starts is connected to the site, and another account is told so', async () => {
  await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  const ada = await site.signIn('ada')
  const wish = { kind: 'endpoint', name: 'packaged' }
  const { token } = await ada.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
  await computer.run(['trustcast', 'enroll', site.url, '--token', token])
  await computer.run(['trustcast', 'endpoint', 'install', '--port', '0', '--as', 'games'])
  expect(await computer.has('/etc/systemd/system/trustcast-endpoint.service')).toBe(false)
  const started = `. /etc/default/trustcast-endpoint
    exec $(sed -n 's/^ExecStart=//p' /lib/systemd/system/trustcast-endpoint.service | sed "s/\\$.*//") $TRUSTCAST_ENDPOINT_OPTIONS`
  const service = computer.start(['sh', '-c', started])
  try {
    await until(async () => (await statusThere()).connected, 'the endpoint is connected', 60_000)
    expect(await statusThere()).toMatchObject({ site: site.url })
  } finally {
    await end(service)
  }
})

test('removed it leaves the identity alone, purged the settings are gone, too', async () => {
  await computer.run(['dpkg', '-r', 'trustcast'])
  expect(await computer.has('/usr/lib/trustcast')).toBe(false)
  expect(await computer.has('/etc/default/trustcast-endpoint')).toBe(true)
  await computer.run(['dpkg', '-P', 'trustcast'])
  expect(await computer.has('/etc/default/trustcast-endpoint')).toBe(false)
  expect(await computer.has('/var/lib/trustcast/endpoint/agent.json')).toBe(true)
})

async function build(into: string, from = tree): Promise<string> {
  const { stdout } = await run(join(from, 'scripts/package'), [into])
  return stdout.trim()
}

async function statusThere() {
  const words = ['setpriv', '--reuid=games', '--clear-groups', 'trustcast', 'status', '--json']
  const { stdout } = await computer.run(words).catch(() => ({ stdout: '{}' }))
  return z
    .union([deviceStatus, z.strictObject({}).transform(() => ({ connected: false }))])
    .parse(JSON.parse(stdout))
}

/** This machine's system as it would be without this tree; what is changed there stays in memory. */
interface Computer extends AsyncDisposable {
  run(words: readonly string[]): Promise<{ readonly stdout: string }>
  start(words: readonly string[]): ChildProcess
  has(path: string): Promise<boolean>
}

async function startComputer(place: string): Promise<Computer> {
  await mkdir(place)
  // All mounts are of a namespace of its own, and end with it.
  const script = `
    mount -t tmpfs -o mode=755 tmpfs ${place}
    mkdir ${place}/upper ${place}/work ${place}/root
    mount -t overlay -o lowerdir=/,upperdir=${place}/upper,workdir=${place}/work overlay ${place}/root
    for one in proc sys dev; do mount --rbind /$one ${place}/root/$one; done
    for one in run tmp var/lib/trustcast; do mkdir -p ${place}/root/$one; mount -t tmpfs -o mode=755 tmpfs ${place}/root/$one; done
    mkdir -p ${place}/root${folder} ${place}/root${tree}
    mount --bind ${folder} ${place}/root${folder}
    mount -t tmpfs tmpfs ${place}/root${tree}
    echo ready
    exec cat`
  const holder = spawn('unshare', ['-m', '--propagation', 'slave', 'sh', '-ec', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(holder.stdout, 'data')
  const inside = (words: readonly string[]): readonly string[] => [
    '-t',
    String(holder.pid),
    '-m',
    'chroot',
    `${place}/root`,
    'env',
    '-i',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...words,
  ]
  return {
    run: (words) => run('nsenter', [...inside(words)]),
    start: (words) => spawn('nsenter', [...inside(words)], { stdio: 'ignore' }),
    has: (path) =>
      run('nsenter', [...inside(['test', '-e', path])]).then(
        () => true,
        () => false,
      ),
    [Symbol.asyncDispose]: () => end(holder),
  }
}
