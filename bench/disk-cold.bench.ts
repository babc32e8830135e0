/**
 * How quickly a disk is read that nothing of is on this machine, from a web server over TLS, beside nbdkit's curl plugin
 * reading the same bytes as a raw file from the same server: at once, and over a line of 20 ms. Once with bytes that are
 * the hardest to unpack, digits that nothing repeats of, and once with a Debian system.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { buildDebianRoot, makeDisk } from '../interop/debian-disk.rig.ts'
import { benchFolder, copyRate, delayingProxy, makeRawDisk, shell, sizeOf, uriOf } from './disk.rig.ts'
import { readInTurn } from './nbd-client.ts'
import { median, method, report } from './report.ts'

const run = promisify(execFile)
const mebibytes = 256
const turns = 3
const lineMs = 20
/** What Linux reads ahead of whoever reads a file, unless it is told otherwise. */
const readAheadBytes = 131_072

method(
  `Raw disks, nginx with TLS 1.3; each turn starts a server anew, with its defaults and an empty cache; ${turns} turns each, median; copy: all of it with nbdcopy, which asks for much at once; read: all of it in requests of ${readAheadBytes / 1024} KiB one after the other, as Linux reads a file of a mounted disk; a relay adds the round trip of ${lineMs} ms. MB/s of the disk. digits: ${mebibytes} MiB of random hexadecimal digits, the hardest to unpack; debian: a bootable Debian 12 on a disk just large enough for it, an eighth of which is zeros.`,
)
await using folder = await benchFolder()
await mkdir(folder.path('www'))
await makeRawDisk(rawOf('digits'), mebibytes)
await makeDebianDisk(rawOf('debian'))
for (const name of ['digits', 'debian']) {
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

for (const disk of ['digits', 'debian']) {
  for (const [name, port, rate, goals] of [
    ['copy.0-ms', web.port, copy, [{ of: 'ratio', atLeast: 2 } as const]],
    ['read.0-ms', web.port, read, [{ of: 'ratio', atLeast: 2 } as const]],
    [
      `copy.${lineMs}-ms`,
      line.port,
      copy,
      [{ of: 'ratio', atLeast: 5 } as const, { of: 'value', atLeast: 145 } as const],
    ],
    [`read.${lineMs}-ms`, line.port, read, [{ of: 'ratio', atLeast: 5 } as const]],
  ] as const) {
    const [ours, peer]: [number[], number[]] = [[], []]
    for (let turn = 0; turn < turns; turn++) {
      ours.push(await rateOfOurs(disk, port, rate))
      peer.push(await rateOfCurl(disk, port, rate))
    }
    for (const goal of goals) {
      const curl = ['nbdkit curl', median(peer)] as const
      report(`disk-cold.${disk}.${name}`, median(ours), 'MB/s', { peer: curl, goal })
    }
  }
}
web.child.kill()

function rawOf(disk: string): string {
  return folder.path(`www/${disk}.raw`)
}

async function makeDebianDisk(raw: string): Promise<void> {
  const root = await buildDebianRoot(folder.path('system'))
  const size = Number(/^\d+/.exec(await shell(`du -sm ${root}`))?.[0])
  // What ext4 needs for itself.
  await makeDisk(root, raw, Math.ceil(size * 1.08))
}

async function copy(disk: string, socket: string): Promise<number> {
  return copyRate(uriOf(socket), await sizeOf(rawOf(disk)))
}

async function read(_disk: string, socket: string): Promise<number> {
  return readInTurn(socket, readAheadBytes)
}

async function rateOfOurs(disk: string, port: number, rate: typeof copy): Promise<number> {
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

async function rateOfCurl(disk: string, port: number, rate: typeof copy): Promise<number> {
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
