import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { fileUnder, loopsOver, mountTable, mountTableOf, topAt } from '#adapters/mount-nbd/mount-table.ts'
import { runInSandbox } from '#adapters/sandbox-bubblewrap/index.ts'
import { detachDisk, listDisks, statsOfDisk } from '#apps/endpoint/disk/attached.ts'
import { type DiskRecord, folderOf, readRecords } from '#apps/endpoint/disk/record.ts'
import type { RigOptions } from './disk-mount.rig.ts'

const run = promisify(execFile)
const mebibyte = 1_048_576
const rig = join(import.meta.dirname, 'disk-mount.rig.ts')

// Some mount many times; the limit is for hanging tests.
vi.setConfig({ testTimeout: 180_000 })

let images: string
let source: string
let folder: string
let runDir: string
let dir: string
let servers: Server[]
let users: ChildProcess[]

interface Server {
  readonly child: ChildProcess
  readonly lines: AsyncIterator<string>
}

beforeAll(async () => {
  images = await mkdtemp(join(tmpdir(), 'disk-images-'))
  source = join(images, 'source')
  await mkdir(join(source, 'etc'), { recursive: true })
  await writeFile(join(source, 'etc/name'), 'a disk\n')
  await writeFile(join(source, 'large'), Buffer.alloc(5 * mebibyte, 'abcdefg'))
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', source, join(images, 'plain.img'), '32M'])
  await partitioned('gpt.img', 24, 40)
  await partitioned('twins.img', 24, 24)
  await writeFile(join(images, 'empty.img'), Buffer.alloc(mebibyte))
})

afterAll(() => rm(images, { recursive: true }))

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'disk mount-'))
  runDir = join(folder, 'run')
  dir = join(folder, 'mounted')
  servers = []
  users = []
})

afterEach(async () => {
  for (const user of users) user.kill('SIGKILL')
  for (const { child } of servers) child.kill('SIGKILL')
  await Promise.all(servers.map(({ child }) => ended(child)))
  await listDisks(runDir)
  const mounted = (await mountTable()).map(({ point }) => point).filter((point) => point.startsWith(folder))
  await rm(folder, { recursive: true })
  expect(mounted).toEqual([])
  expect(await leftoverProcesses()).toEqual([])
})

/** A GPT disk with two ext4 partitions, of so many MiB. */
async function partitioned(name: string, ...sizes: readonly number[]): Promise<void> {
  const image = join(images, name)
  await writeFile(image, '')
  await truncate(image, 80 * mebibyte)
  const script = ['label: gpt', ...sizes.map((size) => `size=${size}MiB, type=linux`)].join('\n')
  const table = run('sfdisk', ['-q', image])
  table.child.stdin?.end(script)
  await table
  const { stdout } = await run('sfdisk', ['--json', image])
  const { partitiontable } = JSON.parse(stdout) as { partitiontable: { partitions: { start: number }[] } }
  for (const [index, { start }] of partitiontable.partitions.entries()) {
    const content = join(images, 'content')
    await mkdir(content, { recursive: true })
    await writeFile(join(content, 'number'), String(index + 1))
    const part = join(images, 'part.img')
    await run('mke2fs', ['-q', '-t', 'ext4', '-d', content, part, `${sizes[index]}M`])
    await run('dd', [`if=${part}`, `of=${image}`, 'bs=512', `seek=${start}`, 'conv=notrunc'])
    await rm(part)
  }
}

/** Of nbdfuse. */
async function leftoverProcesses(): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return pids
    .filter((_, index) => lines[index]?.startsWith('nbdfuse') === true && lines[index].includes(folder))
    .map(Number)
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

type Wishes = Partial<Omit<RigOptions, 'image'>>

/** Starts a process that serves an image of `images`. */
async function start(image: string, wishes: Wishes = {}): Promise<Server & { readonly first: string }> {
  const options: RigOptions = {
    name: 'disk',
    format: 'raw',
    runDir,
    image: join(images, image),
    writable: true,
    ...wishes,
  }
  const child = spawn(process.execPath, [rig, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const server = { child, lines }
  servers.push(server)
  const { value } = (await lines.next()) as { value: string }
  return { ...server, first: value }
}

async function serve(image: string, wishes: Wishes = {}): Promise<Server & { readonly record: DiskRecord }> {
  const server = await start(image, wishes)
  const record = JSON.parse(server.first) as DiskRecord
  expect(record).toHaveProperty('id')
  return { ...server, record }
}

/** Why a disk was not attached; nothing of it is left. */
async function refusal(image: string, mount: RigOptions['mount']): Promise<unknown> {
  const server = await start(image, { ...(mount && { mount }) })
  await ended(server.child)
  expect(await readRecords(runDir)).toEqual([])
  return JSON.parse(server.first) as unknown
}

/** Reads through a child: this process must be able to give up. */
async function read(path: string): Promise<string> {
  return (await run('cat', [path], { maxBuffer: 64 * mebibyte })).stdout
}

test('a mounted disk has the files of its image, keeps what is written, and comes back with it', async () => {
  const { child, record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  expect(record).toMatchObject({ name: 'disk', readOnly: false, mount: { dir, filesystem: 'ext4' } })
  await run('diff', ['-r', '--exclude=lost+found', source, dir])
  await run('cp', [join(source, 'large'), join(dir, 'copy')])
  const entry = (await run('findmnt', ['--json', dir])).stdout
  expect(entry).toMatch(/nosuid.*nodev/)

  expect(await detachDisk(runDir, record.id, false)).toMatchObject({ lazily: false })
  await ended(child)
  expect(child.exitCode).toBe(0)
  expect(existsSync(dir)).toBe(false)
  expect(existsSync(folderOf(runDir, record.id).path)).toBe(false)
  await run('e2fsck', ['-fn', join(images, 'plain.img')])

  const again = await serve('plain.img', { mount: { dir, readOnly: true } })
  await run('cmp', [join(source, 'large'), join(dir, 'copy')])
  await expect(run('touch', [join(dir, 'new')])).rejects.toThrow('Read-only')
  again.child.kill('SIGTERM')
  await ended(again.child)
  expect(again.child.exitCode).toBe(0)
  expect(await readRecords(runDir)).toEqual([])
})

test('a read-only disk that was not unmounted is mounted without replaying its journal', async () => {
  const image = join(images, 'plain.img')
  const { record, child } = await serve('plain.img', { mount: { dir, readOnly: false } })
  await run('sh', ['-c', `echo new > ${JSON.stringify(join(dir, 'new'))}; sync -f ${JSON.stringify(dir)}`])
  const dirty = join(images, 'dirty.img')
  await run('cp', [image, dirty])
  await detachDisk(runDir, record.id, false)
  await ended(child)
  const { stdout } = await run('dumpe2fs', ['-h', dirty])
  expect(stdout).toContain('needs_recovery')
  const before = await readFile(dirty)
  await serve('dirty.img', { writable: false, mount: { dir, readOnly: false } })
  expect(await read(join(dir, 'etc/name'))).toBe('a disk\n')
  await detachDisk(runDir, 'disk', false)
  expect(Buffer.compare(await readFile(dirty), before)).toBe(0)
})

test('nbdinfo lists the disk and each partition; nbdcopy finds the VHD of the same disk', async () => {
  const { record } = await serve('gpt.img', { format: 'vhd' })
  expect((await stat(record.socket)).mode & 0o777).toBe(0o600)
  const uri = (name: string): string => `nbd+unix:///${name}?socket=${encodeURIComponent(record.socket)}`
  const { stdout } = await run('nbdinfo', ['--json', '--list', uri('')])
  const { exports } = JSON.parse(stdout) as { exports: Record<string, unknown>[] }
  expect(exports.map((each) => [each['export-name'], each['export-size']])).toEqual([
    ['disk', 80 * mebibyte + 512],
    ['p1', 24 * mebibyte],
    ['p2', 40 * mebibyte],
  ])
  const vhd = join(folder, 'disk.vhd')
  await run('nbdcopy', [uri(''), vhd])
  expect((await run('vhdiinfo', [vhd])).stdout).toMatch(/Disk type\s*: Fixed/)
  const raw = ['-f', 'vpc', '-F', 'raw', vhd, join(images, 'gpt.img')]
  expect((await run('qemu-img', ['compare', ...raw])).stdout).toContain('identical')
})

test('of several partitions the largest is mounted, or the one that was asked for', async () => {
  const { record } = await serve('gpt.img', { mount: { dir, readOnly: false } })
  expect(record.mount?.export).toBe('p2')
  expect(await read(join(dir, 'number'))).toBe('2')
  await detachDisk(runDir, relative('.', dir), false)
  await serve('gpt.img', { mount: { dir, partition: 1, readOnly: true }, format: 'vhd' })
  expect(await read(join(dir, 'number'))).toBe('1')
})

test('a file system over the whole disk is mounted also when it is served as a VHD', async () => {
  await serve('plain.img', { mount: { dir, readOnly: true }, format: 'vhd' })
  expect(await read(join(dir, 'etc/name'))).toBe('a disk\n')
})

test('what cannot be mounted is refused with a reason, and nothing is left', async () => {
  expect(await refusal('twins.img', { dir, readOnly: false })).toMatchObject({
    code: 'MOUNT_AMBIGUOUS',
    message: expect.stringContaining('1 (ext4, 25165824 bytes), 2 (ext4, 25165824 bytes)'),
  })
  expect(await refusal('gpt.img', { dir, partition: 7, readOnly: false })).toMatchObject({
    code: 'MOUNT_NO_PARTITION',
    message: expect.stringContaining('it has 1, 2'),
  })
  expect(await refusal('empty.img', { dir, readOnly: false })).toMatchObject({ code: 'MOUNT_NO_FILESYSTEM' })
  const broken = join(images, 'broken.img')
  await run('cp', [join(images, 'plain.img'), broken])
  await truncate(broken, 16 * mebibyte)
  expect(await refusal('broken.img', { dir, readOnly: false })).toMatchObject({
    code: 'MOUNT_FAILED',
    message: expect.stringMatching(/EXT4-fs \(loop\d+\): bad geometry/),
  })
  expect(existsSync(dir)).toBe(false)
  await mkdir(dir)
  await writeFile(join(dir, 'mine'), '')
  expect(await refusal('plain.img', { dir, readOnly: false })).toMatchObject({ code: 'MOUNT_DIR_BUSY' })
  expect(existsSync(join(dir, 'mine'))).toBe(true)
})

test('a file system that the kernel does not have is named', async () => {
  await run('mkfs.fat', ['-C', join(images, 'fat.img'), '4096'])
  const { first } = await start('fat.img', { mount: { dir, readOnly: false } })
  const hasIt = (await readFile('/proc/filesystems', 'utf8')).includes('vfat')
  expect(JSON.parse(first)).toMatchObject(
    hasIt ? { mount: { filesystem: 'vfat' } } : { code: 'MOUNT_FILESYSTEM_UNSUPPORTED', message: /vfat/ },
  )
})

test('a disk in use is not detached, but for by force', async () => {
  const { child, record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  const user = spawn('sleep', ['600'], { cwd: join(dir, 'etc'), stdio: 'ignore' })
  users.push(user)
  await once(user, 'spawn')
  await expect(detachDisk(runDir, record.id, false)).rejects.toMatchObject({
    code: 'MOUNT_BUSY',
    message: expect.stringContaining(`sleep (${user.pid})`),
  })
  expect(await read(join(dir, 'etc/name'))).toBe('a disk\n')
  expect(await listDisks(runDir)).toMatchObject([{ id: record.id, state: 'serving' }])

  expect(await detachDisk(runDir, record.id, true)).toMatchObject({ lazily: true })
  await ended(child)
  expect(child.exitCode).toBe(0)
  expect(existsSync(dir)).toBe(false)
})

test('an open file, a mapped program and a mount elsewhere are seen, too', async () => {
  const { record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  await run('cp', ['/bin/sleep', join(dir, 'program')])
  const script = `exec 3<${JSON.stringify(join(dir, 'large'))}; exec sleep 601`
  users.push(spawn('sh', ['-c', script]), spawn(join(dir, 'program'), ['602']))
  // In a mount namespace of its own.
  users.push(spawn('unshare', ['--mount', 'sh', '-c', script.replace('601', '603')]))
  const busy = async (): Promise<string> =>
    detachDisk(runDir, record.id, false).then(
      () => 'detached',
      (error: Error) => error.message,
    )
  await expect.poll(busy).toContain(`sleep (${users[0]?.pid})`)
  await expect.poll(busy).toContain(`program (${users[1]?.pid})`)
  await expect.poll(busy).toContain(`sleep (${users[2]?.pid})`)
  for (const user of users) user.kill('SIGKILL')
  const other = join(folder, 'other')
  await mkdir(other)
  await run('mount', ['--bind', dir, other])
  await expect.poll(busy).toBe(`${dir} is used by a mount at ${other}`)
  await run('umount', [other])
  expect(await busy()).toBe('detached')
})

test('a sandbox on the disk keeps it busy, and sees its end when it is detached by force', async () => {
  const { record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  const folders = ['bin', 'proc', 'dev', 'tmp', 'run', 'home'].map((name) => join(dir, name))
  await run('mkdir', folders)
  await run('cp', ['/bin/busybox', join(dir, 'bin')])
  const { promise: started, resolve: ready } = Promise.withResolvers<unknown>()
  const ending = new AbortController()
  const running = runInSandbox({
    root: dir,
    command: '/bin/busybox',
    args: ['sh', '-c', 'echo ready; while busybox cat /large >/dev/null; do busybox sleep 0.1; done; exit 5'],
    env: {},
    user: { uid: 12_346, gid: 12_346, name: 'bob' },
    home: { path: '/home/bob', from: 'memory' },
    network: false,
    onOutput: ready,
    signal: ending.signal,
  })
  running.catch(() => undefined)
  await started
  const busy = async (): Promise<string> =>
    detachDisk(runDir, record.id, false).catch(String) as Promise<string>
  expect(await busy()).toContain('busybox (')
  expect(await detachDisk(runDir, record.id, true)).toMatchObject({ lazily: true })
  // What is in memory may still be read, so it need not notice by itself.
  ending.abort(new Error('the disk is gone'))
  await running.catch(() => undefined)
  expect(existsSync(dir)).toBe(false)
})

test('after kill -9 the disk is shown as dead, and listing it cleans up', async () => {
  const { child, record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  await writeFile(join(folder, 'mark'), '')
  child.kill('SIGKILL')
  await ended(child)
  expect((await mountTable()).some(({ point }) => point === dir)).toBe(true)
  const lists = await Promise.all([1, 2, 3].map(() => listDisks(runDir)))
  expect(lists.flat().some(({ id, state }) => id === record.id && state === 'dead')).toBe(true)
  expect(await listDisks(runDir)).toEqual([])
  expect((await mountTable()).some(({ point }) => point.startsWith(folder))).toBe(false)
  expect(await loopsOver(join(folderOf(runDir, record.id).path, 'nbd/nbd'))).toEqual([])
  expect(await leftoverProcesses()).toEqual([])
  expect(existsSync(folderOf(runDir, record.id).path)).toBe(false)
  expect(existsSync(dir)).toBe(false)
})

test('a dead disk that programs still use is detached, too', async () => {
  const { child, record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  const user = spawn('sleep', ['604'], { cwd: dir, stdio: 'ignore' })
  users.push(user)
  await once(user, 'spawn')
  child.kill('SIGKILL')
  await ended(child)
  expect(await detachDisk(runDir, record.id, false)).toMatchObject({ disk: { state: 'dead' }, lazily: true })
  expect(await listDisks(runDir)).toEqual([])
})

test('a sandbox that was being set up when the process was killed does not hold the disk', async () => {
  const { child } = await serve('plain.img', { mount: { dir, readOnly: false } })
  const loop = topAt(dir, await mountTable())?.source ?? ''
  // As bubblewrap is when its parent is gone, just after the disk was shown to it: nobody tells it to go on.
  const script =
    'mount -t tmpfs tmpfs /mnt && mkdir /mnt/root && mount --bind "$0" /mnt/root && exec sleep 605'
  const words = ['--mount', '--propagation', 'slave', '--', 'sh', '-c', script, dir]
  const waiting = spawn('unshare', words, { stdio: 'ignore' })
  users.push(waiting)
  // Somebody else's namespace, which only has what the machine has.
  const bystander = spawn('unshare', ['--mount', '--propagation', 'slave', '--', 'sleep', '606'], {
    stdio: 'ignore',
  })
  users.push(bystander)
  await expect
    .poll(async () => (await mountTableOf(waiting.pid ?? 0)).map(({ point }) => point))
    .toContain('/mnt/root')
  child.kill('SIGKILL')
  await ended(child)
  await listDisks(runDir)
  await ended(waiting)
  await expect.poll(() => fileUnder(loop)).toBeUndefined()
  expect(bystander.exitCode ?? bystander.signalCode).toBeNull()
})

test('whenever the process is killed while it mounts, nothing is left', async () => {
  for (const afterMs of [0, 15, 30, 45, 60, 80, 100, 120, 150]) {
    const options = { name: 'disk', format: 'raw', runDir, image: join(images, 'plain.img'), writable: true }
    const words = JSON.stringify({ ...options, mount: { dir, readOnly: false } })
    const child = spawn(process.execPath, [rig, words], { stdio: ['pipe', 'ignore', 'inherit'] })
    await expect.poll(() => readRecords(runDir), { interval: 1 }).not.toEqual([])
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    child.kill('SIGKILL')
    await ended(child)
    await listDisks(runDir)
    expect(await readRecords(runDir)).toEqual([])
    expect((await mountTable()).some(({ point }) => point.startsWith(folder))).toBe(false)
    await expect.poll(leftoverProcesses).toEqual([])
  }
})

test('a process that is killed as soon as it has a loop device leaves none', async () => {
  for (let turn = 0; turn < 5; turn++) {
    const options = { name: 'disk', format: 'raw', runDir, image: join(images, 'plain.img'), writable: true }
    const words = JSON.stringify({ ...options, mount: { dir, readOnly: false } })
    const child = spawn(process.execPath, [rig, words], { stdio: ['pipe', 'ignore', 'inherit'] })
    await expect.poll(() => readRecords(runDir), { interval: 1 }).not.toEqual([])
    const [record] = await readRecords(runDir)
    const shown = join(folderOf(runDir, record?.id ?? '').path, 'nbd/nbd')
    let loop: string | undefined
    while (loop === undefined && child.exitCode === null) [loop] = await loopsOver(shown)
    child.kill('SIGKILL')
    await ended(child)
    await listDisks(runDir)
    await expect.poll(leftoverProcesses).toEqual([])
    // What was over a file of nbdfuse is over one without a folder when that is gone.
    await expect.poll(async () => [shown, '/nbd'].includes((await fileUnder(loop ?? '')) ?? '')).toBe(false)
  }
})

test('a service and all that it started are killed at once in a mount namespace of their own: nothing waits, nothing is left', async () => {
  const options: RigOptions = {
    name: 'disk',
    format: 'raw',
    runDir,
    image: join(images, 'plain.img'),
    writable: true,
    mount: { dir, readOnly: false },
  }
  const words = ['--mount', '--propagation', 'slave', process.execPath, rig, JSON.stringify(options)]
  const child = spawn('unshare', words, { stdio: ['pipe', 'pipe', 'inherit'] })
  servers.push({ child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() })
  await once(child.stdout, 'data')
  await run('nsenter', [`--target=${child.pid}`, '--mount', 'sh', '-c', `echo unwritten > '${dir}/late'`])
  const [fuse = 0] = await leftoverProcesses()
  expect(fuse).toBeGreaterThan(0)
  const loop = topAt(dir, await mountTableOf(child.pid ?? 0))?.source ?? ''
  expect(loop).toMatch(/^\/dev\/loop/)
  const shown = await fileUnder(loop)
  child.kill('SIGKILL')
  await ended(child)
  killIfThere(fuse)
  await expect.poll(leftoverProcesses).toEqual([])
  await expect.poll(async () => [shown, '/nbd'].includes(await fileUnder(loop))).toBe(false)
})

test('a disk that was withdrawn still detaches', async () => {
  const { child, lines, record } = await serve('plain.img', { mount: { dir, readOnly: false } })
  await run('sh', ['-c', `echo unwritten > ${JSON.stringify(join(dir, 'late'))}`])
  child.stdin?.write('\n')
  expect(await lines.next()).toMatchObject({ value: 'withdrawn' })
  await expect(run('cat', [join(dir, 'large')])).rejects.toThrow('Input/output error')
  await detachDisk(runDir, record.id, false)
  await ended(child)
  expect(child.exitCode).toBe(0)
  expect(existsSync(dir)).toBe(false)
})

test('figures and names are asked of the process that serves; several disks are told apart', async () => {
  const [one, two] = await Promise.all([
    serve('plain.img', { name: 'twin', writable: false }),
    serve('gpt.img', { name: 'twin', writable: false }),
  ])
  const { stats } = await statsOfDisk(runDir, two.record.id)
  expect(stats).toMatchObject({ sizeBytes: 80 * mebibyte, damaged: 0 })
  expect(stats.requests).toBeGreaterThan(0)
  await expect(statsOfDisk(runDir, 'twin')).rejects.toMatchObject({ code: 'DISK_NAME_AMBIGUOUS' })
  await expect(detachDisk(runDir, 'other', false)).rejects.toMatchObject({ code: 'DISK_UNKNOWN' })
  const ids = (await Promise.all([1, 2, 3, 4].map(() => listDisks(runDir)))).map((list) => list.length)
  expect(ids).toEqual([2, 2, 2, 2])
  await Promise.all([detachDisk(runDir, one.record.id, false), detachDisk(runDir, two.record.id, true)])
  expect(await listDisks(runDir)).toEqual([])
})
