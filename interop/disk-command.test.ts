import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { mountTable } from '#adapters/mount-nbd/mount-table.ts'
import type { DiskStats } from '#apps/endpoint/disk/disk-stats.ts'
import type { DiskRecord } from '#apps/endpoint/disk/record.ts'

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../trustcast')

let folder: string
let image: string
let dir: string
let env: NodeJS.ProcessEnv
let attached: ChildProcess[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'disk-command-'))
  dir = join(folder, 'mounted')
  image = join(folder, 'base.img')
  env = {
    ...process.env,
    TRUSTCAST_RUN: join(folder, 'run'),
    TRUSTCAST_STORE: join(folder, 'store'),
    TRUSTCAST_IMAGES: join(folder, 'keys'),
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_DATA_HOME: join(folder, 'data'),
  }
  await mkdir(join(folder, 'source'))
  await writeFile(join(folder, 'source/name'), 'streamed\n')
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', join(folder, 'source'), image, '32M'])
  await command('image', 'import', image, 'base:1')
})

afterEach(async () => {
  for (const child of attached) child.kill('SIGKILL')
  await Promise.all(attached.map(ended))
  attached = []
  await command('disk', 'list')
  expect((await mountTable()).filter(({ point }) => point.startsWith(folder))).toEqual([])
})

afterAll(() => rm(folder, { recursive: true }))

async function command(...words: readonly string[]): Promise<string> {
  return (await run(trustcast, words, { env })).stdout
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

function attach(...words: readonly string[]): Promise<{ child: ChildProcess; record: DiskRecord }> {
  return attachImage('base:1', ...words)
}

async function attachImage(
  name: string,
  ...words: readonly string[]
): Promise<{ child: ChildProcess; record: DiskRecord }> {
  const child = spawn(trustcast, ['disk', 'attach', name, '--json', ...words], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  attached.push(child)
  for await (const line of createInterface(child.stdout)) {
    return { child, record: JSON.parse(line) as DiskRecord }
  }
  throw new Error('it did not attach')
}

async function disks(): Promise<readonly Record<string, unknown>[]> {
  return (JSON.parse(await command('disk', 'list', '--json')) as { disks: Record<string, unknown>[] }).disks
}

async function statsOf(id: string): Promise<DiskStats> {
  const { disks } = JSON.parse(await command('disk', 'stats', id, '--json')) as { disks: DiskStats[] }
  return disks[0]!
}

async function detach({ child, record }: { child: ChildProcess; record: DiskRecord }): Promise<void> {
  await command('disk', 'detach', record.id)
  await ended(child)
  expect(child.exitCode).toBe(0)
}

function uri({ record }: { readonly record: DiskRecord }): string {
  return `nbd+unix:///?socket=${record.socket}`
}

/** A disk of noise between zeros. */
async function importNoise(name: string): Promise<string> {
  const path = join(folder, `${name}.img`)
  await writeFile(path, Buffer.concat([Buffer.alloc(2_097_152), randomBytes(3_145_728)]))
  await command('image', 'import', path, `${name}:1`)
  return path
}

// Many processes one after the other.
vi.setConfig({ testTimeout: 180_000 })

test('an image is attached, mounted, listed, measured and detached; what was kept comes back', async () => {
  const { child, record } = await attach('--mount', dir, '--overlay', 'keep')
  expect((await run('cat', [join(dir, 'name')])).stdout).toBe('streamed\n')
  await run('cp', [join(dir, 'name'), join(dir, 'copy')])
  expect(await disks()).toMatchObject([{ id: record.id, name: 'base', state: 'serving', mount: { dir } }])
  expect(await command('disk', 'list')).toMatch(new RegExp(`${record.id} +base +writable +32.0 MiB +${dir}`))
  expect(await command('disk', 'stats', 'base:1')).toContain('FETCHED')
  expect(await command('disk', 'detach', 'base')).toBe('Detached base.\n')
  await ended(child)
  expect(child.exitCode).toBe(0)
  expect(await command('disk', 'list')).toBe('No disk is attached.\n')
  expect(existsSync(dir)).toBe(false)

  const again = await attach('--mount', dir, '--overlay', 'keep')
  expect((await run('cat', [join(dir, 'copy')])).stdout).toBe('streamed\n')
  again.child.kill('SIGINT')
  await ended(again.child)
  expect(again.child.exitCode).toBe(0)
})

test('a killed disk is listed as dead once', async () => {
  const { child } = await attach('--mount', dir)
  child.kill('SIGKILL')
  await ended(child)
  expect(await command('disk', 'list')).toContain('dead, cleaned up')
  expect(await disks()).toEqual([])
})

test('what one connection wrote and another one flushed outlives a server that is killed', async () => {
  const first = await attach('--overlay', 'keep')
  // Stays connected, and flushes nothing itself.
  const writer = spawn('qemu-io', ['-f', 'raw', '-t', 'writeback', uri(first)])
  attached.push(writer)
  writer.stdin.write('write -P 0x5a 64k 128k\n')
  for await (const line of createInterface(writer.stdout)) if (line.includes('wrote')) break
  await run('qemu-io', ['-f', 'raw', '-c', 'flush', uri(first)])
  first.child.kill('SIGKILL')
  await ended(first.child)
  const second = await attach('--overlay', 'keep')
  const read = await run('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 0x5a 64k 128k', uri(second)])
  expect(read.stdout).toContain('read 131072/131072')
  expect(read.stdout).not.toContain('failed')
  await detach(second)
})

test('nbdinfo starts it by socket activation, nbdfuse on standard input and output', async () => {
  const words = [trustcast, 'disk', 'attach', 'base:1', '--read-only']
  const size = await run('nbdinfo', ['--json', '--', '[', ...words, ']'], { env })
  expect(size.stdout).toContain('"export-name": "base"')
  expect(size.stdout).toContain('"is_read_only": true')
  const shown = join(folder, 'shown')
  await mkdir(shown)
  const fuse = spawn('nbdfuse', ['-r', shown, '--command', ...words, '--stdio'], { env, stdio: 'ignore' })
  try {
    await expect.poll(async () => (await mountTable()).some(({ point }) => point === shown)).toBe(true)
    await run('cmp', [join(shown, 'nbd'), image])
  } finally {
    await run('umount', [shown])
    await ended(fuse)
  }
  await expect.poll(disks).toEqual([])
})

test('served as a VHD it is one to libvhdi and QEMU, and equal to the image', async () => {
  const disk = await attach('--read-only', '--format', 'vhd')
  await run('qemu-img', ['compare', '-f', 'vpc', '-F', 'raw', uri(disk), image])
  const shown = join(folder, 'as-vhd')
  await mkdir(shown)
  const words = ['-r', join(shown, 'disk.vhd'), '--unix', disk.record.socket]
  const fuse = spawn('nbdfuse', words, { stdio: 'ignore' })
  try {
    await expect.poll(async () => (await mountTable()).some(({ point }) => point === shown)).toBe(true)
    const { stdout } = await run('vhdiinfo', [join(shown, 'disk.vhd')])
    expect(stdout).toMatch(/Disk type\s+: Fixed/)
    expect(stdout).toContain(`(${32 * 1_048_576} bytes)`)
    await run('cmp', ['-n', String(32 * 1_048_576), join(shown, 'disk.vhd'), image])
  } finally {
    await run('umount', [shown])
    await ended(fuse)
  }
  await detach(disk)
})

test('what a recorded boot read is on this machine before anybody reads it, and the next time nothing is fetched', async () => {
  const path = await importNoise('boot')
  const trace = join(folder, 'trace')
  const recording = await attachImage(
    'boot:1',
    '--read-only',
    '--cache',
    join(folder, 'c1'),
    '--record',
    trace,
  )
  const { percentLocal } = await statsOf(recording.record.id)
  expect(percentLocal).toBeLessThan(100)
  await run('nbdcopy', [uri(recording), 'null:'])
  const { bytesFetched } = await statsOf(recording.record.id)
  expect(bytesFetched).toBeGreaterThan(3_145_728)
  await detach(recording)
  await command('image', 'trace', 'boot:1', trace)
  const replaying = await attachImage('boot:1', '--read-only', '--cache', join(folder, 'c2'))
  await expect.poll(() => statsOf(replaying.record.id)).toMatchObject({ bytesFetched, percentLocal: 100 })
  await run('nbdcopy', [uri(replaying), join(folder, 'copy.img')])
  await run('cmp', [join(folder, 'copy.img'), path])
  expect(await statsOf(replaying.record.id)).toMatchObject({ bytesFetched })
  await detach(replaying)
  const again = await attachImage('boot:1', '--read-only', '--cache', join(folder, 'c2'))
  await run('nbdcopy', [uri(again), 'null:'])
  expect(await statsOf(again.record.id)).toMatchObject({ bytesFetched: 0, requests: 0 })
  await detach(again)
})

test('an image that a disk is attached from is not collected, though it has no name any more', async () => {
  const path = await importNoise('gone')
  const collect = async (...words: readonly string[]): Promise<unknown> =>
    JSON.parse(await command('image', 'gc', ...words, '--grace', '0', '--json'))
  await collect()
  const disk = await attachImage('gone:1', '--read-only', '--cache', join(folder, 'c3'))
  expect(await collect('gone:1')).toMatchObject({ deleted: 0, freedBytes: 0 })
  await run('nbdcopy', [uri(disk), join(folder, 'kept.img')])
  await run('cmp', [join(folder, 'kept.img'), path])
  await detach(disk)
  const { freedBytes } = (await collect()) as { freedBytes: number }
  expect(freedBytes).toBeGreaterThan(3_145_728)
  await expect(command('image', 'verify', 'gone:1')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^ARTIFACT_MISSING/),
  })
})

test('other machines reach it by TLS only', async () => {
  const pki = join(folder, 'pki')
  await mkdir(pki)
  const [key, certificate] = [join(pki, 'key.pem'), join(pki, 'ca-cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '1']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  await run('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', certificate, ...subject])
  const tls = ['--tls-cert', certificate, '--tls-key', key]
  const { record } = await attach('--read-only', '--listen', '127.0.0.1:0', ...tls)
  const where = `localhost:${record.tcp?.port}`
  const { stdout } = await run('nbdinfo', ['--size', `nbds://${where}/?tls-certificates=${pki}`])
  expect(stdout.trim()).toBe(String(32 * 1_048_576))
  await expect(run('nbdinfo', ['--size', `nbd://${where}/`])).rejects.toThrow()
})

test('wrong words are refused before anything is opened', async () => {
  const wrong = [
    ['--overlay', 'keep', '--read-only'],
    ['--partition', '1'],
    ['--listen', '127.0.0.1:10809'],
    ['--format', 'qcow2'],
    ['--tls-cert', image],
    ['--cache-size', 'much'],
  ]
  for (const words of wrong) {
    await expect(command('disk', 'attach', 'base:1', ...words)).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^USAGE/),
    })
  }
  await expect(command('disk', 'detach', 'nothing')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^DISK_UNKNOWN/),
  })
})
