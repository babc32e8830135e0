import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFile,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Observation } from '#core/evidence/observation.ts'
import { defaultLimits, defaultRules, type WatchingCollector } from '#core/posture/index.ts'
import { makeClamd } from './clamd.rig.ts'
import { clamdCollector } from './clamd.ts'
import { debuggersCollector } from './debuggers.ts'
import { disksCollector } from './disks.ts'
import { firewallCollector } from './firewall.ts'
import { firmwareCollector } from './firmware.ts'
import { linuxCollectors } from './index.ts'
import { machineCollector } from './machine.ts'
import { accountsCollector, peopleHere, screenLockCollector } from './people.ts'
import { programsCollector } from './programs.ts'
import { runCommand } from './run-command.ts'
import { lastDnfLook, updatesCollector } from './updates.ts'

const run = promisify(execFile)

async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'trustcast-evidence-'))
  onTestFinished(async () => rm(dir, { recursive: true, force: true }))
  return dir
}

/** Started programs end with the test. */
async function start(program: string, ...words: string[]): Promise<ChildProcess> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'] })
  onTestFinished(async () => end(child))
  await once(child, 'spawn')
  return child
}

async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill(signal)
  await ended
}

async function look(collector: WatchingCollector): Promise<Observation> {
  const observations = await collector.collect(new AbortController().signal)
  expect(observations).toHaveLength(1)
  return observations[0]!
}

/** @returns a function that counts how often the collector called for a look */
function watching(collector: WatchingCollector): () => number {
  const stop = new AbortController()
  onTestFinished(() => stop.abort())
  const changed = vi.fn()
  collector.watch?.(changed, stop.signal)
  return () => changed.mock.calls.length
}

test('a running clamd is antivirus; its end, its start and its hanging are noticed', async () => {
  const dir = await tempDir()
  await using clamd = await makeClamd(dir)
  const collector = clamdCollector({
    configurations: [join(dir, 'none.conf'), clamd.configuration],
    rules: defaultRules,
    now: Date.now,
  })
  expect(await look(collector)).toMatchObject({ value: 'off', detail: expect.stringContaining('ENOENT') })

  const calls = watching(collector)
  await clamd.start()
  await expect.poll(calls).toBe(1)
  expect(await look(collector)).toMatchObject({ value: 'on', detail: expect.stringMatching(/^ClamAV \d/) })

  await clamd.date(new Date(Date.now() - 30 * 86_400_000))
  for (const name of ['clamd.conf', 'clamd.log', 'clamd.pid', 'clamd.ctl'])
    await utimes(join(dir, name), 0, 0)
  expect(await look(collector)).toMatchObject({ value: 'outdated' })

  const before = calls()
  await clamd.stop('SIGTERM')
  await expect.poll(calls).toBeGreaterThan(before)
  expect(await look(collector)).toMatchObject({ value: 'off' })

  const stopped = calls()
  await clamd.start()
  await expect.poll(calls).toBeGreaterThan(stopped)
  const hanging = calls()
  clamd.signal('SIGSTOP')
  // What it wrote when it started lies beside them here.
  expect(await look(collector)).toMatchObject({
    value: 'unknown',
    detail: expect.stringContaining('loading'),
  })
  for (const name of ['clamd.log', 'clamd.pid', 'clamd.ctl']) await utimes(join(dir, name), 0, 0)
  expect(await look(collector)).toMatchObject({ value: 'off' })
  await expect.poll(calls).toBeGreaterThan(hanging)
})

test('without ClamAV there is no antivirus, unless the rules name another one', async () => {
  const options = { configurations: ['/nowhere/clamd.conf'], now: Date.now }
  expect(await look(clamdCollector({ ...options, rules: defaultRules }))).toMatchObject({ value: 'off' })
  const rules = { ...defaultRules, antivirus: [{ name: 'Other', process: 'other' }] }
  const other = clamdCollector({ ...options, rules })
  expect(await other.collect(new AbortController().signal)).toEqual([])
})

test('rules of the packet filter are seen, and their coming and going', async () => {
  const holder = await start('unshare', '--net', 'sleep', '600')
  const inside = ['nsenter', '--target', String(holder.pid), '--net']
  const within = async (...words: string[]): Promise<void> => {
    const [program = '', ...rest] = [...inside, ...words]
    await run(program, rest)
  }
  await expect
    .poll(async () => (await run('ip', ['netns', 'identify', String(holder.pid)])).stdout)
    .toBe('\n')
  const collector = firewallCollector({ net: `/proc/${holder.pid}/net`, enter: inside })
  const calls = watching(collector)
  expect(await look(collector)).toMatchObject({ value: 'off' })

  await within('nft', 'add table ip filter')
  await within('nft', 'add chain ip filter input { type filter hook input priority 0; policy drop; }')
  await expect.poll(calls).toBeGreaterThan(0)
  expect(await look(collector)).toMatchObject({ value: 'on', detail: expect.stringContaining('IPv4 only') })

  await within('ip', 'link', 'add', 'outside', 'type', 'veth', 'peer', 'name', 'other')
  await within('ip', 'address', 'add', '2001:db8::1/64', 'dev', 'outside')
  expect(await look(collector)).toMatchObject({ value: 'off', detail: expect.stringContaining('IPv6') })

  await within('nft', 'add table ip6 filter')
  await within('nft', 'add chain ip6 filter input { type filter hook input priority 0; policy accept; }')
  await within('nft', 'add rule ip6 filter input tcp dport 22 reject')
  expect(await look(collector)).toMatchObject({ value: 'on' })

  // As lists of banned addresses are, more than is read.
  const banned = Array.from({ length: 26_000 }, (_, n) => `10.0.${n >> 8}.${n & 255}`)
  const elements = banned.map((address) => `${address} comment "${'x'.repeat(120)}"`).join(', ')
  const file = join(await tempDir(), 'rules.nft')
  await writeFile(file, `table ip filter { set banned { type ipv4_addr; elements = { ${elements} }; }; }\n`)
  await within('nft', '-f', file)
  expect(await look(collector)).toMatchObject({ value: 'on' })

  const before = calls()
  await within('nft', 'flush', 'ruleset')
  await expect.poll(calls).toBeGreaterThan(before)
  expect(await look(collector)).toMatchObject({ value: 'off' })
})

async function children(): Promise<string> {
  return (await run('ps', ['--ppid', String(process.pid), '-o', 'args='])).stdout
}

test('nobody who watches is left behind', async () => {
  const stop = new AbortController()
  firewallCollector({ net: '/proc/self/net', enter: [] }).watch?.(() => undefined, stop.signal)
  await expect.poll(children).toContain('nft monitor')
  stop.abort()
  await expect.poll(children).not.toContain('nft monitor')
})

test('this machine’s root is encrypted where lsblk sees a crypt device below it', async () => {
  const source = (await run('findmnt', ['-no', 'SOURCE', '/'])).stdout.trim()
  const below = await run('lsblk', ['--inverse', '--noheadings', '--output', 'TYPE', source])
  const { value, detail } = await look(disksCollector({ proc: '/proc', sys: '/sys' }))
  if (below.stdout.includes('crypt')) expect(value).not.toBe('unknown')
  else expect([value, detail]).toEqual(['off', expect.stringContaining('root')])
})

/** Builds the files and links again that were recorded on a machine. */
async function rebuild(root: string, recording: string): Promise<void> {
  const path = new URL(`../../vectors/posture/linux/${recording}`, import.meta.url)
  let file = ''
  for (const line of (await readFile(path, 'utf8')).trimEnd().split('\n')) {
    const [kind, name = '', target = ''] = line.split(' ')
    const isName = kind === 'F' || kind === 'L'
    if (isName) {
      file = join(root, name)
      await mkdir(dirname(file), { recursive: true })
    }
    if (kind === 'L') await symlink(target, file)
    if (!isName) await appendFile(file, `${line}\n`)
  }
}

test('root on LUKS is followed down to the disk, as a machine has recorded it', async () => {
  const root = await tempDir()
  await rebuild(root, 'luks-with-boot.txt')
  const collector = disksCollector({ proc: join(root, 'proc'), sys: join(root, 'sys') })
  expect(await look(collector)).toMatchObject({ value: 'on', detail: 'encrypted: root' })

  const calls = watching(collector)
  const more = await tempDir()
  await rebuild(more, 'luks-with-plain-data.txt')
  await copyFile(join(more, 'proc/self/mountinfo'), join(root, 'proc/self/mountinfo'))
  await expect.poll(calls).toBeGreaterThan(0)
  expect(await look(collector)).toMatchObject({ value: 'off', detail: 'not encrypted: 1 data' })

  const stick = 'devices/pci0000:00/0000:00:14.0/usb2/2-1/host6/target6:0:0/6:0:0:0/block/sdc/sdc1'
  await mkdir(join(root, 'sys', stick), { recursive: true })
  await symlink(join(root, 'sys', stick), join(root, 'sys/dev/block/8:33'))
  const line = '90 26 8:33 / /media/anna/stick rw,nosuid,relatime - vfat /dev/sdc1 rw\n'
  await appendFile(join(root, 'proc/self/mountinfo'), line)
  expect(await look(collector)).toMatchObject({ detail: 'not encrypted: 1 data, 1 removable' })
})

/** `none` where there is none. */
async function detect(kind: '--container' | '--vm'): Promise<string> {
  return (await runCommand(['systemd-detect-virt', kind])).stdout.trim()
}

test('what this machine is agrees with systemd', async () => {
  const { value, detail } = await look(machineCollector('/'))
  const [container, vm] = [await detect('--container'), await detect('--vm')]
  expect(value).toBe(container !== 'none' ? 'container' : vm !== 'none' ? 'vm' : 'physical')
  if (container !== 'none') expect(detail).toContain(container)
  expect(detail.includes('virtual machine')).toBe(vm !== 'none')
})

test('Secure Boot is read from the variables of the firmware', async () => {
  const efi = await tempDir()
  await mkdir(join(efi, 'efivars'))
  const name = 'SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c'
  expect(await look(firmwareCollector(efi))).toMatchObject({ value: 'unknown' })
  await writeFile(
    join(efi, 'efivars', name.replace('SecureBoot', 'BootOrder')),
    Uint8Array.of(7, 0, 0, 0, 0, 0),
  )
  expect(await look(firmwareCollector(efi))).toMatchObject({ value: 'off' })
  await writeFile(join(efi, 'efivars', name), Uint8Array.of(6, 0, 0, 0, 1))
  expect(await look(firmwareCollector(efi))).toMatchObject({ value: 'on' })
  expect(await look(firmwareCollector(join(efi, 'none')))).toMatchObject({ value: 'off' })
})

test('a tracer of a process that we started is a debugger, and its coming and going is noticed', async () => {
  const collector = debuggersCollector('/proc')
  const child = await start('sleep', '600')
  expect((await look(collector)).value).not.toBe('attached')
  const calls = watching(collector)
  // Longer than the first glance, which later ones are compared with.
  await look(collector)
  const strace = await start('strace', '--attach', String(child.pid))
  await expect.poll(async () => (await look(collector)).value).toBe('attached')
  expect((await look(collector)).detail).toBe('strace is attached to Trustcast or what it started')
  await expect.poll(calls).toBeGreaterThan(0)
  const before = calls()
  await end(strace, 'SIGINT')
  await expect.poll(calls).toBeGreaterThan(before)
  expect((await look(collector)).value).not.toBe('attached')
})

test('a debugger that runs beside us leaves it open whether there is one', async () => {
  const gdb = await start('gdb', '--quiet', '--nx')
  await once(gdb.stdout!, 'data')
  expect(await look(debuggersCollector('/proc'))).toMatchObject({ value: 'unknown' })
})

test.each(['edr', 'antivirus'] as const)(
  '%s that the rules name is seen to start and to end',
  async (kind) => {
    const dir = await tempDir()
    const sensor = join(dir, 'example-sensor')
    await copyFile('/bin/sleep', sensor)
    const rules = { ...defaultRules, [kind]: [{ name: 'Example Sensor', process: 'example-sens*' }] }
    const collector = programsCollector('/proc', rules)
    const calls = watching(collector)
    const claim = `endpoint.${kind}`
    expect(await look(collector)).toMatchObject({
      claim,
      value: 'off',
      detail: 'not running: Example Sensor',
    })
    const child = await start(sensor, '600')
    await expect.poll(calls).toBeGreaterThan(0)
    expect(await look(collector)).toMatchObject({ claim, value: 'on' })
    const before = calls()
    await end(child)
    await expect.poll(calls).toBeGreaterThan(before)
  },
)

test('administrators are known by their groups', async () => {
  const etc = await tempDir()
  await writeFile(join(etc, 'group'), 'sudo:x:27:\n')
  const nobody = accountsCollector(async () => [65_534], etc)
  expect(await look(nobody)).toMatchObject({ value: 'no' })
  expect(await look(accountsCollector(async () => [0], etc))).toMatchObject({ value: 'yes' })
  const calls = watching(nobody)
  await writeFile(join(etc, 'group'), 'sudo:x:27:nobody\n')
  await expect.poll(calls).toBeGreaterThan(0)
})

test('GNOME is asked about its lock where it runs', async () => {
  const dir = await tempDir()
  const collector = screenLockCollector(async () => [process.getuid?.() ?? 0], '/proc', defaultLimits)
  expect(await look(collector)).toMatchObject({ value: 'unknown' })
  await copyFile('/bin/sleep', join(dir, 'gnome-shell'))
  const shell = await start(join(dir, 'gnome-shell'), '600')
  // As an upgrade does while people are signed in.
  await rm(join(dir, 'gnome-shell'))
  const { stdout } = await run('gsettings', ['get', 'org.gnome.desktop.session', 'idle-delay'])
  const idleSec = Number(stdout.replace('uint32 ', ''))
  const { value, detail } = await look(collector)
  expect([value, detail]).toEqual(
    idleSec > 0 ? ['on', `the screen is locked after ${idleSec} s`] : ['off', expect.any(String)],
  )
  await end(shell)
  await copyFile('/bin/sleep', join(dir, 'xss-lock'))
  await start(join(dir, 'xss-lock'), '600')
  expect(await look(collector)).toMatchObject({ value: 'on' })
})

/** A system of apt's own, with an archive of security updates that holds one. */
async function aptRoot(root: string, installed: string): Promise<void> {
  const archive = join(root, 'archive')
  const lists = join(archive, 'dists/stable-security/main/binary-all')
  for (const path of ['etc/apt/apt.conf.d', 'var/lib/apt/lists/partial', 'var/cache/apt/archives/partial'])
    await mkdir(join(root, path), { recursive: true })
  await mkdir(join(root, 'var/lib/dpkg'), { recursive: true })
  await mkdir(join(root, 'var/log/apt'), { recursive: true })
  await mkdir(lists, { recursive: true })
  const fields =
    'Package: example\nArchitecture: all\nMaintainer: Example <example@example.invalid>\nDescription: x\n'
  const hash = '0'.repeat(64)
  await writeFile(
    join(lists, 'Packages'),
    `${fields}Version: 2\nFilename: example_2_all.deb\nSize: 1\nSHA256: ${hash}\n`,
  )
  await writeFile(
    join(archive, 'dists/stable-security/Release'),
    'Origin: Example\nLabel: Example-Security\nSuite: stable-security\nCodename: stable-security\nArchitectures: all\nComponents: main\n',
  )
  await writeFile(
    join(root, 'etc/apt/sources.list'),
    `deb [trusted=yes arch=all] file:${archive} stable-security main\n`,
  )
  await writeFile(
    join(root, 'var/lib/dpkg/status'),
    `${fields}Version: ${installed}\nStatus: install ok installed\n\n`,
  )
  await mkdir(join(root, 'etc'), { recursive: true })
  await writeFile(join(root, 'etc/os-release'), 'PRETTY_NAME="Example Linux 1"\n')
}

test('apt is asked which security updates wait, and installing them is noticed', async () => {
  const root = await tempDir()
  await aptRoot(root, '1')
  const status = join(root, 'var/lib/dpkg/status')
  await run('apt-get', [
    '-o',
    `Dir=${root}`,
    '-o',
    `Dir::State::status=${status}`,
    '-o',
    'APT::Sandbox::User=root',
    '-o',
    'Acquire::Languages=none',
    'update',
  ])
  const collector = updatesCollector({ root, limits: defaultLimits, now: Date.now })
  expect(await look(collector)).toMatchObject({
    value: 'overdue',
    detail: 'Example Linux 1: 1 security update waits, no package was ever upgraded',
  })
  const today = new Date().toISOString().replace('T', '  ').slice(0, 20)
  await writeFile(
    join(root, 'var/log/apt/history.log'),
    `Start-Date: ${today}\nUpgrade: other:all (1, 2)\nEnd-Date: ${today}\n`,
  )
  expect(await look(collector)).toMatchObject({
    value: 'current',
    detail: expect.stringContaining('1 security'),
  })

  const calls = watching(collector)
  await aptRoot(root, '2')
  await expect.poll(calls).toBeGreaterThan(0)
  expect(await look(collector)).toMatchObject({
    value: 'current',
    detail: expect.stringContaining('no security'),
  })

  const long = new Date(Date.now() - 20 * 86_400_000)
  for (const path of ['var/lib/apt/lists/partial', 'var/lib/apt/lists'])
    await utimes(join(root, path), long, long)
  expect(await look(collector)).toMatchObject({
    value: 'overdue',
    detail: expect.stringContaining('nobody looked'),
  })
})

test.each(['dnf', 'libdnf5'])('an archive that dnf dates anew in %s was looked at', async (cache) => {
  const root = await tempDir()
  const repodata = join(root, 'var/cache', cache, 'updates-0123456789abcdef/repodata')
  await mkdir(repodata, { recursive: true })
  const files = ['repomd.xml', '0123-primary.xml.zck'].map((name) => join(repodata, name))
  const [old, recent] = [1_700_000_000, 1_750_000_000]
  for (const file of files) await writeFile(file, '')
  for (const path of [...files, repodata, dirname(repodata)]) await utimes(path, old, old)
  expect(await lastDnfLook(root)).toBe(old * 1000)
  await utimes(files[1]!, recent, recent)
  expect(await lastDnfLook(root)).toBe(recent * 1000)
})

test('every collector says something about this machine', { timeout: 120_000 }, async () => {
  const collectors = linuxCollectors({ rules: defaultRules, now: Date.now })
  const { signal } = new AbortController()
  const seen = await Promise.all(collectors.map(async (collector) => collector.collect(signal)))
  const claims = seen.flat().map(({ claim }) => claim)
  expect(new Set(claims)).toEqual(
    new Set(collectors.flatMap((collector) => collector.claims).filter((claim) => claim !== 'endpoint.edr')),
  )
  expect(await peopleHere(signal)).toEqual(expect.any(Array))
})

test('a command that is not there, fails, or does not end has no good status', async () => {
  expect(await runCommand(['no-such-program'])).toMatchObject({ status: undefined })
  expect(await runCommand(['false'])).toMatchObject({ status: 1 })
  const stop = new AbortController()
  const hanging = runCommand(['sleep', '600'], stop.signal)
  stop.abort(new Error('enough'))
  await expect(hanging).rejects.toThrow('enough')
})
