/**
 * How quickly a disk is read that nothing of is on this machine, from a web server over TLS, beside nbdkit's curl plugin
 * reading the same bytes as a raw file from the same server: at once, and over a line of 20 ms. A Debian system on a disk
 * with free space; the same on one without; and bytes that are the hardest to unpack, digits that nothing repeats of.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { buildDebianRoot, makeDisk, rootPartition } from '../interop/debian-disk.rig.ts'
import { benchFolder, copyRate, delayingProxy, makeRawDisk, shell, sizeOf, uriOf } from './disk.rig.ts'
import { readInTurn } from './nbd-client.ts'
import { type Goal, median, method, report } from './report.ts'

const run = promisify(execFile)
const digitsMiB = 256
const systemMiB = 2048
const turns = 3
const lineMs = 20
/** What Linux reads ahead of whoever reads a file, unless it is told otherwise. */
const readAheadBytes = 131_072

method(
  `Raw disks, nginx with TLS 1.3; each turn starts a server anew, with its defaults and an empty cache; ${turns} turns each, median; copy: all of it with nbdcopy, which asks for much at once; read: all of it in requests of ${readAheadBytes / 1024} KiB one after the other, as Linux reads a large file of a mounted disk; files: every file of the disk, mounted by nbdfuse and loop, with tar; a relay adds the round trip of ${lineMs} ms. MB/s of the disk, or of the files. system: a bootable Debian 12 on a disk of ${systemMiB / 1024} GiB; full: the same on a disk just large enough for it, an eighth of which is zeros; digits: ${digitsMiB} MiB of random hexadecimal digits, the hardest to unpack.`,
)
await using folder = await benchFolder()
await mkdir(folder.path('www'))
await makeRawDisk(rawOf('digits'), digitsMiB)
await makeDebianDisks()
for (const name of ['system', 'full', 'digits']) {
  await folder.trustcast('image', 'import', rawOf(name), `${name}:1`, '--store', folder.path('www/store'))
}
const certificate = folder.path('cert.pem')
await run('openssl', [
  'req',
  '-x509',
  '-newkey',
  'ec',
  '-pkeyopt',
  'ec_paramgen_curve:P-256',
  '-nodes',
  '-keyout',
  folder.path('key.pem'),
  '-out',
  certificate,
  '-subj',
  '/CN=localhost',
  '-addext',
  'subjectAltName=DNS:localhost',
  '-days',
  '2',
])
const web = await startWeb()
await using line = await delayingProxy(web.port, lineMs)

const atOnce = { name: '0-ms', port: web.port }
const byLine = { name: `${lineMs}-ms`, port: line.port }
const twice = { of: 'ratio', atLeast: 2 } as const
const fiveTimes = { of: 'ratio', atLeast: 5 } as const
const fast = { of: 'value', atLeast: 145 } as const

await compare('system', copy, atOnce, [twice])
// Without a goal: mounted so, a local raw file takes half of the time that the peer takes.
await compare('system', files, atOnce, [undefined])
await compare('system', files, byLine, [fiveTimes])
for (const disk of ['full', 'digits']) {
  await compare(disk, copy, atOnce, [twice])
  await compare(disk, copy, byLine, [fiveTimes, fast])
  await compare(disk, read, atOnce, [twice])
  await compare(disk, read, byLine, [fiveTimes])
}
web.child.kill()

function rawOf(disk: string): string {
  return folder.path(`www/${disk}.raw`)
}

async function makeDebianDisks(): Promise<void> {
  const root = await buildDebianRoot(folder.path('built'))
  const size = Number(/^\d+/.exec(await shell(`du -sm ${root}`))?.[0])
  await makeDisk(root, rawOf('system'), systemMiB)
  // What ext4 needs for itself.
  await makeDisk(root, rawOf('full'), Math.ceil(size * 1.08))
}

/** One way to read one disk, ours and the peer in turn. */
async function compare(
  disk: string,
  rate: Rate,
  { name, port }: typeof atOnce,
  goals: readonly (Goal | undefined)[],
): Promise<void> {
  const [ours, peer]: [number[], number[]] = [[], []]
  for (let turn = 0; turn < turns; turn++) {
    ours.push(await rateOfOurs(disk, port, rate))
    peer.push(await rateOfCurl(disk, port, rate))
  }
  const curl = ['nbdkit curl', median(peer)] as const
  for (const goal of goals)
    report(`disk-cold.${disk}.${rate.name}.${name}`, median(ours), 'MB/s', {
      peer: curl,
      ...(goal && { goal }),
    })
}

/** Reads a disk by the NBD server on a socket: MB/s. Its name is the figure's. */
type Rate = (disk: string, socket: string) => Promise<number>

/** Holes are skipped where the server tells of them. */
async function copy(disk: string, socket: string): Promise<number> {
  return copyRate(uriOf(socket), await sizeOf(rawOf(disk)), [])
}

async function read(_disk: string, socket: string): Promise<number> {
  return readInTurn(socket, readAheadBytes)
}

async function files(_disk: string, socket: string): Promise<number> {
  const [fuse, mount] = [`${socket}.fuse`, `${socket}.mount`]
  await mkdir(fuse)
  await mkdir(mount)
  const serving = spawn('nbdfuse', [fuse, '--unix', socket], { stdio: 'inherit' })
  const ended = once(serving, 'exit')
  await shell(`until [ -e ${fuse}/nbd ]; do sleep 0.02; done`)
  const started = performance.now()
  await shell(`mount -o ro,noload,loop,offset=${rootPartition.offset} ${fuse}/nbd ${mount}`)
  const bytes = Number(await shell(`tar -C ${mount} -cf - . | wc -c`))
  const seconds = (performance.now() - started) / 1000
  await shell(`umount ${mount}; umount ${fuse}`)
  await ended
  return bytes / 1e6 / seconds
}

async function rateOfOurs(disk: string, port: number, rate: Rate): Promise<number> {
  const socket = folder.path(`o${performance.now()}`)
  const store = `https://localhost:${port}/store`
  await using _ = await folder.serve(
    socket,
    'trustcast',
    'disk',
    'attach',
    `${disk}:1`,
    '--store',
    store,
    '--store-ca',
    certificate,
    '--socket',
    socket,
    '--read-only',
    '--cache',
    folder.path(`c${performance.now()}`),
  )
  return await rate(disk, socket)
}

async function rateOfCurl(disk: string, port: number, rate: Rate): Promise<number> {
  const socket = folder.path(`n${performance.now()}`)
  const url = `https://localhost:${port}/${disk}.raw`
  await using _ = await folder.serve(
    socket,
    'nbdkit',
    '-f',
    '-r',
    '-U',
    socket,
    'curl',
    url,
    `cainfo=${certificate}`,
  )
  return await rate(disk, socket)
}

async function startWeb() {
  const probe = await delayingProxy(1, 0)
  const { port } = probe
  await probe[Symbol.asyncDispose]()
  await sleep(50)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder.path(name)};`,
  )
  await writeFile(
    folder.path('nginx.conf'),
    `daemon off; user root; worker_processes 1; pid ${folder.path('nginx.pid')}; error_log ${folder.path('nginx.log')};
     events { worker_connections 512; }
     http { access_log off; ${temporary.join(' ')} keepalive_requests 1000000; server {
       listen 127.0.0.1:${port} ssl; ssl_protocols TLSv1.3;
       ssl_certificate ${certificate}; ssl_certificate_key ${folder.path('key.pem')}; root ${folder.path('www')};
     } }`,
  )
  const child = spawn('nginx', ['-p', folder.path(''), '-c', folder.path('nginx.conf')], { stdio: 'inherit' })
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) break
    await sleep(20)
  }
  await readFile(folder.path('nginx.conf'))
  return { port, child }
}
