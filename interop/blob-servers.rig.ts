/** Real servers of blobs for tests: nginx over TLS, and Debian's docker-registry. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { stringify } from 'yaml'

const run = promisify(execFile)

export interface RunningServer extends AsyncDisposable {
  readonly port: number
  /** Ends it, and starts it again at the same port. */
  kill(): Promise<void>
  start(): Promise<void>
}

/** PEM files of an authority, of `localhost` and 127.0.0.1, and of a client. */
export interface TestPki extends AsyncDisposable {
  readonly folder: string
  readonly ca: string
  readonly server: { readonly cert: string; readonly key: string }
  readonly client: { readonly chainPem: string; readonly privateKeyPem: string }
}

export async function makePki(): Promise<TestPki> {
  const folder = await mkdtemp(join(tmpdir(), 'blobs-pki-'))
  const openssl = (...args: readonly string[]) => run('openssl', args, { cwd: folder })
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await openssl(
    'req',
    '-x509',
    ...ec,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-subj',
    '/CN=Test',
    '-days',
    '2',
  )
  for (const [name, extension] of [
    ['server', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ['client', 'extendedKeyUsage=clientAuth'],
  ] as const) {
    const own = ['-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${name}`, '-days', '2']
    const issuer = ['-CA', 'ca.pem', '-CAkey', 'ca.key']
    const extensions = ['-addext', extension, '-addext', 'basicConstraints=critical,CA:false']
    await openssl('req', '-x509', ...ec, ...own, ...issuer, ...extensions)
  }
  const text = (name: string) => readFile(join(folder, name), 'utf8')
  return {
    folder,
    ca: await text('ca.pem'),
    server: { cert: join(folder, 'server.pem'), key: join(folder, 'server.key') },
    client: { chainPem: await text('client.pem'), privateKeyPem: await text('client.key') },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}

/** Serves a folder over TLS 1.3. With `clients` only to those who prove a certificate of the authority. */
export async function startNginx(
  root: string,
  pki: TestPki,
  options: { readonly clients?: boolean } = {},
): Promise<RunningServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'))
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(folder, name)};`)
    .join(' ')
  const clients = options.clients
    ? `ssl_verify_client on; ssl_client_certificate ${join(pki.folder, 'ca.pem')};`
    : ''
  await writeFile(
    join(folder, 'nginx.conf'),
    `daemon off; user root; worker_processes 1; pid ${join(folder, 'pid')}; error_log ${join(folder, 'log')};
     events { worker_connections 512; }
     http { access_log off; ${temporary} server {
       listen 127.0.0.1:${port} ssl; ssl_protocols TLSv1.3; ${clients}
       ssl_certificate ${pki.server.cert}; ssl_certificate_key ${pki.server.key};
       root ${root};
     } }`,
  )
  return serve('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], port, folder)
}

/** @param settings laid over a registry in a folder of its own that allows to delete, on loopback without TLS */
export async function startRegistry(
  settings: { readonly http?: object; readonly auth?: object; readonly middleware?: object } = {},
  data?: string,
): Promise<RunningServer> {
  const folder = await mkdtemp(join(tmpdir(), 'registry-'))
  const port = await freePort()
  const root = data ?? join(folder, 'data')
  await mkdir(root, { recursive: true })
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: root }, delete: { enabled: true } },
    ...settings,
    http: { addr: `127.0.0.1:${port}`, ...settings.http },
  }
  await writeFile(join(folder, 'config.yml'), stringify(config))
  return serve('docker-registry', ['serve', join(folder, 'config.yml')], port, folder)
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (typeof address !== 'object' || address === null) throw new Error('expected a port')
  return address.port
}

async function serve(
  command: string,
  args: readonly string[],
  port: number,
  folder: string,
): Promise<RunningServer> {
  let stop: (() => Promise<void>) | undefined
  const start = async () => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', (text: Buffer) => {
      // docker-registry calls each blob that is not there an error.
      said = `${said}${text.toString()}`.slice(-2000)
    })
    const ended = once(child, 'close').catch((error: unknown) => Promise.reject(error as Error))
    stop = async () => {
      child.kill('SIGTERM')
      await ended
    }
    await Promise.race([
      answering(port, () => child.exitCode === null),
      ended.then(() => Promise.reject(new Error(`${command} ended: ${said}`))),
    ])
  }
  await start()
  return {
    port,
    start,
    kill: async () => stop?.(),
    async [Symbol.asyncDispose]() {
      await stop?.()
      await rm(folder, { recursive: true })
    },
  }
}

async function answering(port: number, isRunning: () => boolean): Promise<void> {
  while (isRunning()) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isOpen) return
    await sleep(10)
  }
}
