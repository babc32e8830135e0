import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { NbdServer } from '#adapters/nbd-server/index.ts'
import {
  type Authority,
  createAuthority,
  createIdentityKey,
  issueLeaf,
  serverTls,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { isCoded } from '#core/errors/coded-error.ts'

const run = promisify(execFile)
const mebibyte = 1_048_576
const rig = join(import.meta.dirname, 'nbd-server.rig.ts')

let folder: string
let reference: string
let content: Uint8Array
let uri: string
let device: BlockDevice
let server: NbdServer
let dropped: unknown[]

let pki: string
let authority: Authority

beforeAll(async () => {
  pki = await mkdtemp(join(tmpdir(), 'nbd-pki-'))
  authority = await createAuthority({ dir: join(pki, 'authority'), siteName: 'Test', now: Date.now() })
})

afterAll(() => rm(pki, { recursive: true }))

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nbd-'))
  reference = join(folder, 'reference.img')
  content = sparseDisk()
  await writeFile(reference, content)
  device = memoryDevice(content)
  dropped = []
  server = new NbdServer({
    exports: [
      { name: 'disk', description: 'a disk for tests', device },
      { name: 'read-only', device: memoryDevice(content, false) },
    ],
    onDropped: (error) => dropped.push(error),
  })
  const socket = join(folder, 'nbd.sock')
  await server.listenUnix(socket)
  uri = `nbd+unix:///?socket=${socket}`
})

afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true })
})

/** 8 MiB of 4 KiB blocks: data, holes and data again. */
function sparseDisk(): Uint8Array {
  const disk = new Uint8Array(8 * mebibyte)
  for (let at = 0; at < disk.length; at++) if ((at >> 18) % 3 !== 1) disk[at] = ((at >> 8) ^ (at * 7)) | 1
  return disk
}

async function output(command: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run(command, args, { maxBuffer: 64 * mebibyte, timeout: 50_000 })
  return stdout
}

test('nbdinfo sees everything that is offered', async () => {
  const [disk] = (JSON.parse(await output('nbdinfo', '--json', uri)) as { exports: object[] }).exports
  expect(disk).toMatchObject({
    'export-name': 'disk',
    description: 'a disk for tests',
    'export-size': 8 * mebibyte,
    contexts: ['base:allocation'],
    is_read_only: false,
    is_rotational: false,
    can_cache: true,
    can_df: true,
    can_fast_zero: true,
    can_flush: true,
    can_fua: true,
    can_multi_conn: true,
    can_trim: true,
    can_zero: true,
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 33_554_432,
  })
  const { exports } = JSON.parse(await output('nbdinfo', '--json', '--list', uri)) as {
    exports: { 'export-name': string; is_read_only: boolean; can_trim: boolean }[]
  }
  expect(exports.map((each) => [each['export-name'], each.is_read_only, each.can_trim])).toEqual([
    ['disk', false, true],
    ['read-only', true, false],
  ])
  expect(dropped).toEqual([])
})

test('nbdinfo sees the holes', async () => {
  const map = JSON.parse(await output('nbdinfo', '--map', '--json', uri)) as {
    offset: number
    type: number
  }[]
  expect(map.slice(0, 3)).toMatchObject([
    { offset: 0, length: 262_144, type: 0 },
    { offset: 262_144, length: 262_144, type: 3 },
    { offset: 524_288, length: 524_288, type: 0 },
  ])
})

test('nbdcopy reads what is there, with and without holes and over several connections', async () => {
  const copy = join(folder, 'copy.img')
  for (const args of [[], ['--no-extents'], ['--synchronous'], ['--connections=4', '--requests=8']]) {
    await output('nbdcopy', ...args, uri, copy)
    expect(Buffer.compare(await readFile(copy), content)).toBe(0)
    await rm(copy)
  }
})

test('nbdcopy writes what it has', async () => {
  const source = join(folder, 'source.img')
  const other = sparseDisk().toReversed()
  await writeFile(source, other)
  await output('nbdcopy', '--flush', source, uri)
  expect(Buffer.compare(content, other)).toBe(0)
})

test('qemu-img reads the same disk, and converts it in both directions', async () => {
  expect(await output('qemu-img', 'info', '--output=json', uri)).toContain(`"virtual-size": ${8 * mebibyte}`)
  expect(await output('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', uri, reference)).toContain('identical')
  const qcow2 = join(folder, 'disk.qcow2')
  await output('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', uri, qcow2)
  expect(await output('qemu-img', 'compare', qcow2, reference)).toContain('identical')
  content.fill(0x55)
  await output('qemu-img', 'convert', '-n', '-f', 'qcow2', '-O', 'raw', qcow2, uri)
  expect(Buffer.compare(content, await readFile(reference))).toBe(0)
})

test('qemu-io writes, zeroes, discards and reads back', async () => {
  const commands = [
    'write -P 0x5a 1M 64k',
    'read -P 0x5a 1M 64k',
    'write -f -P 0x33 513 1025',
    'read -P 0x33 513 1025',
    'write -z 2M 1M',
    'read -P 0 2M 1M',
    'write -z -u 4M 1M',
    'read -P 0 4M 1M',
    'discard 1M 64k',
    'read -P 0 1M 64k',
    'flush',
    'aio_read -P 0 2M 512k',
    'aio_read -P 0 4M 512k',
    'aio_flush',
  ]
  const said = await output('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri)
  expect(said).not.toMatch(/failed|error/i)
  expect(content[513]).toBe(0x33)
  expect(dropped).toEqual([])
})

test('a read-only export refuses to be written', async () => {
  const readOnly = uri.replace('///?', '///read-only?')
  await expect(output('qemu-io', '-f', 'raw', '-c', 'write 0 512', readOnly)).rejects.toThrow(/read.?only/i)
  expect(Buffer.compare(content, await readFile(reference))).toBe(0)
})

test('nbdcopy is told of a failing disk, and why', async () => {
  device.read = async () => {
    throw new Error('the platter broke')
  }
  await expect(output('nbdcopy', '--no-extents', uri, 'null:')).rejects.toThrow(/Input\/output error/)
  await expect(output('qemu-io', '-r', '-f', 'raw', '-c', 'read 0 512', uri)).rejects.toMatchObject({
    stdout: expect.stringContaining('Input/output error'),
  })
})

test('fio verifies what it wrote at random, many requests at a time', async () => {
  const args = [
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--rw=randwrite',
    '--bs=4k',
    '--iodepth=64',
    '--verify=crc32c',
  ]
  const said = await run('fio', ['--name=t', ...args, '--size=8M', '--output-format=json'], { cwd: folder })
  const { jobs } = JSON.parse(said.stdout.slice(said.stdout.indexOf('{'))) as { jobs: { error: number }[] }
  expect(jobs[0]?.error).toBe(0)
})

test('nbdinfo starts the server itself and hands it the listening socket', async () => {
  const activated = await output('nbdinfo', '--size', '--', '[', process.execPath, rig, reference, ']')
  expect(activated.trim()).toBe(String(8 * mebibyte))
})

/** Starts a server for a connection, as inetd does. */
function onSocket(connection: Socket): void {
  spawn(process.execPath, [rig, '--stdio', reference], { stdio: [connection, connection, 'inherit'] })
  connection.destroy()
}

function onPipes(connection: Socket): void {
  const child = spawn(process.execPath, [rig, '--stdio', reference], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdout.pipe(connection).pipe(child.stdin)
}

test('a server on standard input and output serves one client, on a socket and on pipes', async () => {
  for (const [name, start] of Object.entries({ onSocket, onPipes })) {
    const listener = createServer({ pauseOnConnect: start === onSocket }, start)
    const path = join(folder, `${name}.sock`)
    listener.listen(path)
    await once(listener, 'listening')
    const copy = join(folder, `${name}.img`)
    await output('nbdcopy', '--connections=1', `nbd+unix:///?socket=${path}`, copy)
    expect(Buffer.compare(await readFile(copy), content)).toBe(0)
    listener.close()
    await once(listener, 'close')
  }
})

test('a server that is handed a TCP socket and has no certificate serves nobody', async () => {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle
  const script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
  const child = spawn('sh', ['-c', script, 'sh', process.execPath, rig, reference], {
    stdio: ['ignore', 'ignore', 'pipe', fd],
  })
  let said = ''
  child.stderr?.on('data', (bytes: Buffer) => {
    said += bytes.toString()
  })
  const [code] = (await once(child, 'close')) as [number]
  listener.close()
  expect(code).toBe(1)
  expect(said).toContain('NBD_TLS_NEEDED')
})

/** A folder of certificates as QEMU and libnbd want it: one for the client, and whom it trusts. */
async function certificates(client: TlsIdentity, trusted = authority): Promise<string> {
  const dir = await mkdtemp(join(folder, 'client-'))
  // QEMU reads only the first certificate of a chain, so the intermediate must be trusted as well.
  await writeFile(join(dir, 'ca-cert.pem'), trusted.rootPem + trusted.intermediatePem)
  await writeFile(join(dir, 'client-cert.pem'), client.chainPem)
  await writeFile(join(dir, 'client-key.pem'), client.privateKeyPem, { mode: 0o600 })
  return dir
}

async function identity(usages: 'client' | 'server', issuer = authority): Promise<TlsIdentity> {
  const { publicKey, privateKeyPem } = await createIdentityKey()
  const { chainPem } = await issueLeaf(issuer, {
    role: usages === 'client' ? 'endpoint' : 'host',
    id: 'one',
    usages,
    dnsNames: ['localhost'],
    publicKey,
    lifetimeMs: 3_600_000,
    now: Date.now(),
  })
  return { chainPem, privateKeyPem }
}

async function listenTls(): Promise<number> {
  const tls = serverTls(await identity('server'), authority.rootPem)
  return server.listenTcp({ host: '127.0.0.1', port: 0 }, () => tls)
}

function qemuOver(port: number, dir: string): string[] {
  return [
    '--object',
    `tls-creds-x509,id=tls,endpoint=client,dir=${dir}`,
    '--image-opts',
    `driver=nbd,host=localhost,port=${port},export=disk,tls-creds=tls`,
  ]
}

test('over TLS, with certificates on both sides, QEMU and libnbd see the same disk', async () => {
  const port = await listenTls()
  const dir = await certificates(await identity('client'))
  const info = await output('qemu-img', 'info', '--output=json', ...qemuOver(port, dir))
  expect(info).toContain(`"virtual-size": ${8 * mebibyte}`)
  const secure = `nbds://localhost:${port}/disk?tls-certificates=${dir}`
  expect(await output('nbdinfo', secure)).toContain('protocol: newstyle-fixed with TLS')
  const copy = join(folder, 'copy.img')
  await output('nbdcopy', secure, copy)
  expect(Buffer.compare(await readFile(copy), content)).toBe(0)
  expect(dropped).toEqual([])
})

test('without TLS, without a certificate or with one of another site nobody gets in', async () => {
  const port = await listenTls()
  await expect(output('nbdinfo', `nbd://localhost:${port}/disk`)).rejects.toThrow('Operation not supported')
  const other = await createAuthority({ dir: join(pki, 'other'), siteName: 'Other', now: Date.now() })
  const foreign = await certificates(await identity('client', other))
  // QEMU would look at its own certificate and not even try.
  const stranger = `nbds://localhost:${port}/disk?tls-certificates=${foreign}`
  await expect(output('nbdinfo', stranger)).rejects.toThrow(/TLS|gnutls|closed/)
  await vi.waitFor(() =>
    expect(dropped.map((error) => isCoded(error) && error.code)).toEqual(['NBD_TLS_FAILED']),
  )
  const bare = await certificates(await identity('client'))
  for (const own of ['client-cert.pem', 'client-key.pem']) await rm(join(bare, own))
  await expect(output('qemu-img', 'info', ...qemuOver(port, bare))).rejects.toThrow()
  const mistrusting = await certificates(await identity('client'), other)
  await expect(output('qemu-img', 'info', ...qemuOver(port, mistrusting))).rejects.toThrow()
})
