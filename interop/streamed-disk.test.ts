import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { launchHere } from '#apps/cli/launch-here.ts'
import { diskDeliverer } from '#apps/endpoint/deliver-disk.ts'
import { readEndpointCredentials, startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { launchDisk } from '#apps/endpoint/launch-disk.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import { endpointsAnswer } from '#core/api/lease.ts'
import { releasesView } from '#core/api/releases.ts'
import { signDirection } from '#core/release/index.ts'
import { makePki, type RunningServer, startRegistry, type TestPki } from './blob-servers.rig.ts'
import { bootDisk, buildDebianRoot, makeDisk, nbdDrive, upgradeDisk } from './debian-disk.rig.ts'
import { diskWorkspace } from './published-release.rig.ts'
import {
  type CliResult,
  passwordOf,
  type RunningSite,
  type SignedInClient,
  startSite,
  until,
} from './running-site.rig.ts'

/**
 * The way of a disk, with nothing left out: a bootable Debian is imported from a VHD into a registry behind TLS, two of
 * three people sign it, the site publishes it, and an endpoint in a network of its own uses it while it streams.
 */
vi.setConfig({ testTimeout: 600_000, hookTimeout: 1_500_000 })

const run = promisify(execFile)
const image = 'debian'
const people = ['alice', 'bob', 'carol'] as const
const program = join(import.meta.dirname, '..', 'trustcast')
const environment = { ...process.env }

let folder: string
let site: RunningSite
let ada: SignedInClient
let pki: TestPki
let registry: RunningServer
let net: EndpointNetwork
let store: string
let imported: { readonly [version: string]: Imported }
const inFolder = (name: string): string => join(folder, name)
const keyOf = (name: string): string => inFolder(`${name}.key`)

const importedImage = z.looseObject({
  chunks: z.int(),
  reusedChunks: z.int(),
  bytesStored: z.int(),
  bytesTotal: z.int(),
})
type Imported = z.infer<typeof importedImage>

beforeAll(async () => {
  folder = await mkdtemp('/var/tmp/tc-disk-')
  const root = await buildDebianRoot(folder)
  await makeDisk(root, inFolder('v1.raw'), 2048)
  await upgradeDisk(inFolder('v1.raw'), inFolder('v2.raw'))
  for (const version of ['v1', 'v2']) {
    const [raw, vhd] = [inFolder(`${version}.raw`), inFolder(`${version}.vhd`)]
    await run('qemu-img', [
      'convert',
      '-f',
      'raw',
      '-O',
      'vpc',
      '-o',
      'subformat=dynamic,force_size=on',
      raw,
      vhd,
    ])
  }
  pki = await makePki()
  registry = await startRegistry({ http: { tls: { certificate: pki.server.cert, key: pki.server.key } } })
  store = `oci://localhost:${registry.port}/images`
  site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  ada = await site.signIn('ada')
  process.env['TRUSTCAST_IMAGES'] = inFolder('image-keys')
  await writeFile(inFolder('root.crt'), site.address.ca ?? '')
  await done(
    cli('ada', ['login', site.url, '--user', 'ada', '--ca', inFolder('root.crt')], `${passwordOf('ada')}\n`),
  )
  net = await endpointNetwork([site.port, site.port + 1, registry.port])
})

afterAll(async () => {
  process.env = environment
  await net?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
  await registry?.[Symbol.asyncDispose]()
  await pki?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

test('a VHD is imported into a registry behind TLS, and a newer version stores little more than what changed', async () => {
  const storeCa = ['--store', store, '--store-ca', join(pki.folder, 'ca.pem')]
  const importOf = async (version: string): Promise<Imported> => {
    const words = [
      'image',
      'import',
      inFolder(`v${version}.vhd`),
      `${image}:${version}`,
      ...storeCa,
      '--app',
      'checksum=/usr/bin/sha256sum /etc/os-release',
      '--app',
      'shell=/bin/sleep 1000',
      '--json',
    ]
    return importedImage.parse(JSON.parse(await done(cli('ada', words))))
  }
  imported = { '1': await importOf('1'), '2': await importOf('2') }
  const [first, second] = [imported['1']!, imported['2']!]
  expect(first.reusedChunks).toBeLessThan(first.chunks)
  expect(second.bytesStored).toBeLessThan(first.bytesStored)
  const diff = z
    .looseObject({
      changedStoredBytes: z.int(),
      partitions: z.array(
        z.looseObject({
          changedBytes: z.int(),
          files: z.array(z.looseObject({ path: z.string(), change: z.string() })),
        }),
      ),
    })
    .parse(
      JSON.parse(await done(cli('ada', ['image', 'diff', `${image}:1`, `${image}:2`, ...storeCa, '--json']))),
    )
  expect(second.bytesStored).toBeLessThanOrEqual(1.5 * diff.changedStoredBytes)
  expect(diff.partitions).toHaveLength(1)
  expect(diff.partitions[0]?.files).toContainEqual(
    expect.objectContaining({ path: '/usr/bin/less', change: 'added' }),
  )
  const wrong = await cli('ada', ['image', 'import', inFolder('v1.vhd'), `${image}:1`, ...storeCa])
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('IMAGE_EXISTS') })
  expect(await done(cli('ada', ['image', 'verify', `${image}:2`, ...storeCa]))).toContain('is whole')
})

test('what is exported is what was imported, as qemu-img and libvhdi see it', async () => {
  const storeCa = ['--store', store, '--store-ca', join(pki.folder, 'ca.pem')]
  for (const [format, driver, file] of [
    ['raw', 'raw', 'out.raw'],
    ['vhd', 'vpc', 'out.vhd'],
    ['vhd-fixed', 'vpc', 'out-fixed.vhd'],
  ] as const) {
    await done(cli('ada', ['image', 'export', `${image}:2`, inFolder(file), '--format', format, ...storeCa]))
    await run('qemu-img', ['compare', '-f', 'raw', '-F', driver, inFolder('v2.raw'), inFolder(file)])
    if (format !== 'raw') expect((await run('vhdiinfo', [inFolder(file)])).stdout).toContain('2.0 GiB')
    await rm(inFolder(file))
  }
})

test('skopeo takes the image elsewhere and it is the same there', async () => {
  const copy = inFolder('copy')
  const from = `docker://localhost:${registry.port}/images/${image}:1`
  await run('skopeo', ['copy', '--src-cert-dir', await certDir(), from, `oci:${copy}:${image}:1`])
  expect(await done(cli('ada', ['image', 'verify', `${image}:1`, '--store', copy]))).toContain('is whole')
})

test('two of three people sign it, and it is published for production', async () => {
  for (const name of people) {
    await writeFile(inFolder(`${name}.pass`), `the long passphrase of ${name}\n`)
    await done(
      cli('ada', [
        'key',
        'create',
        keyOf(name),
        '--name',
        name,
        '--passphrase-file',
        inFolder(`${name}.pass`),
      ]),
    )
  }
  const publicFiles = people.map((name) => `${keyOf(name)}.pub`)
  await done(cli('ada', ['image', 'root', ...publicFiles, '--threshold', '2']))
  await done(cli('ada', ['image', 'delegate', image, ...publicFiles, '--threshold', '2']))
  for (const what of ['root', 'targets']) for (const who of ['alice', 'carol']) await done(sign(what, who))
  await done(cli('ada', ['image', 'publish', 'root', 'targets']))
  await release('1')
})

test('an endpoint in another network attaches and mounts it, and its files are the originals', async () => {
  await enrolEndpoint()
  await workspace('checksum')
  await using disk = await attach(['--mount', inFolder('mnt')])
  const { stdout: original } = await run(
    'sha256sum',
    ['bin/bash', 'etc/debian_version', 'usr/bin/perl', 'var/lib/dpkg/status'],
    { cwd: inFolder('root') },
  )
  const { stdout: mounted } = await run(
    'sha256sum',
    ['bin/bash', 'etc/debian_version', 'usr/bin/perl', 'var/lib/dpkg/status'],
    { cwd: inFolder('mnt') },
  )
  expect(mounted).toBe(original)
  await writeFile(join(inFolder('mnt'), 'root/note'), 'written on the endpoint')
  const listed = z
    .looseObject({ disks: z.array(z.looseObject({ id: z.string(), state: z.string() })) })
    .parse(JSON.parse(await done(inside(['disk', 'list', '--json']))))
  expect(listed.disks).toMatchObject([{ id: disk.record.id, state: 'serving' }])
  await done(inside(['disk', 'stats', disk.record.id]))
  await done(inside(['disk', 'detach', disk.record.id]))
  await disk.ended
  await expect(stat(join(inFolder('mnt'), 'etc'))).rejects.toThrow()
})

test('QEMU boots from its socket with an overlay, the second time from what is on this machine', async () => {
  const first = await fetchedByBoot(nothingIsFetched)
  expect(first).toBeGreaterThan(0)
  expect(first).toBeLessThan(0.15 * 2_147_483_648)
  // On a busy machine a guest does some of what it does at its start in another order, or not at all.
  expect(await fetchedByBoot()).toBeLessThan(0.05 * first)
})

test('NBD clients agree on it', async () => {
  await using disk = await attach([])
  const uri = uriOf(disk)
  expect((await run('nbdinfo', ['--json', uri])).stdout).toContain('"export-size": 2147483648')
  await run('nbdcopy', [uri, inFolder('copied.raw')])
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', inFolder('v1.raw'), inFolder('copied.raw')])
  await rm(inFolder('copied.raw'))
  // At the end of the disk, where the file system has nothing.
  await run('qemu-io', [
    '-f',
    'raw',
    '-c',
    'write -P 0x5a 2047M 64k',
    '-c',
    'read -P 0x5a 2047M 64k',
    '-c',
    'flush',
    uri,
  ])
  await run('fio', [
    '--name=t',
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--rw=randread',
    '--bs=4k',
    '--iodepth=32',
    '--size=64M',
    '--output-format=json',
  ])
  // Into the overlay and back.
  await run('fio', [
    '--name=verify',
    `--aux-path=${folder}`,
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--rw=randwrite',
    '--bssplit=512/10:4k/50:12k/20:64k/20',
    '--iodepth=32',
    '--size=64M',
    '--verify=crc32c',
    '--do_verify=1',
    '--verify_fatal=1',
  ])
})

test('an application runs from the disk in a sandbox, and the lease is given back', async () => {
  await run('useradd', ['-m', 'tcdiskperson']).catch(() => {})
  try {
    await workspace('checksum')
    const text = await done(
      inside(['launch', 'lab', '--as', 'tcdiskperson', '--store-ca', join(pki.folder, 'ca.pem')]),
    )
    const { stdout: expected } = await run('sha256sum', ['/usr/lib/os-release'], { cwd: '/' }).catch(() => ({
      stdout: '',
    }))
    expect(text).toMatch(/[0-9a-f]{64} {2}\/etc\/os-release/)
    expect(expected.length).toBeGreaterThan(0)
    expect(text).toContain('Ended: Nothing uses it any more')
    await expect.poll(async () => (await leases()).map(({ state, notice }) => [state, notice])).toEqual([])
  } finally {
    await run('userdel', ['-r', 'tcdiskperson']).catch(() => {})
  }
})

test('when trust changes the key is taken back: reads fail, the mount is gone, and the person is told what is left', async () => {
  await using disk = await attach(['--mount', inFolder('mnt')])
  await run('sha256sum', [join(inFolder('mnt'), 'bin/bash')])
  const people = await ada.get(
    '/admin/people',
    z.looseObject({
      people: z.array(z.looseObject({ id: z.string(), login: z.string(), groups: z.array(z.string()) })),
    }),
  )
  const nora = people.people.find(({ login }) => login === 'nora')!
  await ada.send('PATCH', `/admin/people/${nora.id}`, { groups: ['contractors'] }, z.unknown())
  try {
    await disk.ended
    expect(disk.output()).toContain('LEASE_WITHDRAWN')
    await expect(stat(join(inFolder('mnt'), 'etc'))).rejects.toThrow()
    await until(
      async () => (await leases()).every(({ state }) => state !== 'held'),
      'the lease is not held any more',
    )
  } finally {
    await ada.send('PATCH', `/admin/people/${nora.id}`, { groups: nora.groups }, z.unknown())
  }
})

test('a newer release is directed', async () => {
  expect(await release('2')).toMatch(
    /inside, since debian\/1:[^]*files of partition 1: [^]* \+ \/usr\/bin\/less /,
  )
  await using disk = await attach([])
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', inFolder('v2.raw'), uriOf(disk)])
})

test('a site that was taken over cannot have the endpoint use an older release, nor one that nobody signed', async () => {
  const nora = await site.signIn('nora')
  const state = inFolder('endpoint')
  const credentials = { ...nora.credentials, endpoint: await readEndpointCredentials(state) }
  const log = { info: () => undefined, warn: () => undefined }
  await using agent = await startEndpointAgent({ dir: state, version: 'test', log })
  await agent.untilConnected(20_000)
  const directorKey = createPrivateKey(await readFile(join(site.state, 'keys/director.key')))
  const { images } = await ada.get('/releases', releasesView)
  const digestOf = (version: string): string =>
    images[0]?.releases.find((one) => one.version === version)?.manifestDigest ?? ''
  const launchDirectedTo = async (
    version: string,
    counter: number,
    manifestDigest: string,
  ): Promise<unknown> => {
    const launched = await launchHere({ site: site.address, credentials }, agent, 'lab')
    if (launched.delivery.kind !== 'streamed-disk') throw new Error('expected a disk')
    const direction = signDirection(directorKey, {
      site: agent.siteId,
      endpoint: agent.id,
      nonce: launched.nonce,
      name: image,
      version,
      counter,
      manifestDigest,
      channel: 'production',
      issuedAtMs: Date.now(),
      expiresAtMs: Date.now() + 60_000,
    })
    const delivery = { ...launched.delivery, direction: Buffer.from(direction).toString('base64url') }
    const open = diskDeliverer({
      dir: state,
      cache: { dir: inFolder('other-cache'), maximumBytes: 1e9 },
      memoryBytes: 67_108_864,
      storeOptions: { ca: pki.ca },
      fetch: releaseMetadata(site.address),
      serving: { format: 'raw', runDir: inFolder('other-run') },
      use: async () => {
        throw new Error('the disk was opened')
      },
      warn: () => undefined,
    })
    return launchDisk(agent, { ...launched, delivery }, open)
  }
  await expect(launchDirectedTo('1', 1, digestOf('1'))).rejects.toMatchObject({ code: 'RELEASE_ROLLBACK' })
  await expect(launchDirectedTo('1', 3, digestOf('1'))).rejects.toMatchObject({ code: 'RELEASE_NOT_SIGNED' })
  await expect(launchDirectedTo('9', 9, 'a'.repeat(64))).rejects.toMatchObject({ code: 'RELEASE_NOT_SIGNED' })
})

test('going back is a new release that people sign, and then the endpoint takes it', async () => {
  const back = await cli('ada', ['image', 'promote', `${image}:1`, '--channel', 'production'])
  expect(back).toMatchObject({ code: 1, stderr: expect.stringContaining('RELEASE_ROLLBACK') })
  await done(cli('ada', ['image', 'rollback', image, '--to', '1', '--as', '3']))
  for (const who of ['bob', 'carol']) await done(sign(`${image}:3`, who))
  await done(cli('ada', ['image', 'publish', `${image}:3`]))
  await done(cli('ada', ['image', 'promote', `${image}:3`, '--channel', 'production']))
  await using disk = await attach([])
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', inFolder('v1.raw'), uriOf(disk)])
})

/**
 * Signs a version by two people, publishes it, and has production use it.
 *
 * @returns what the first of them was shown
 */
async function release(version: string): Promise<string> {
  const what = `${image}:${version}`
  const from = ['--store', store, '--store-ca', join(pki.folder, 'ca.pem')]
  await done(cli('ada', ['image', 'register', what, ...from]))
  const shown = await done(sign(what, 'alice', from))
  expect(await cli('ada', ['image', 'publish', what])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('RELEASE_BELOW_THRESHOLD'),
  })
  await done(sign(what, 'bob'))
  await done(cli('ada', ['image', 'publish', what, '--channel', 'test']))
  await done(cli('ada', ['image', 'promote', what, '--channel', 'production']))
  return shown
}

function sign(what: string, who: string, words: readonly string[] = []): Promise<CliResult> {
  return cli('ada', [
    'image',
    'sign',
    what,
    '--key',
    keyOf(who),
    '--passphrase-file',
    inFolder(`${who}.pass`),
    '--yes',
    ...words,
  ])
}

async function enrolEndpoint(): Promise<void> {
  const { token } = await ada.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'endpoint', name: 'desk-1' },
    tokenAnswer,
  )
  await done(inside(['enroll', site.url, '--token', token, '--state', inFolder('endpoint')]))
  await done(
    inside(['login', site.url, '--user', 'nora', '--ca', inFolder('root.crt')], `${passwordOf('nora')}\n`),
  )
  await mkdir(inFolder('mnt'))
}

async function workspace(application: string): Promise<void> {
  const definition = diskWorkspace(image, {
    modes: ['streamed-disk', 'hosted-shared'],
    disk: { image, channel: 'production', application },
  })
  await ada.send('PUT', `/admin/workspaces/${definition.id}`, definition, z.unknown())
}

async function leases() {
  const { endpoints } = await ada.get('/endpoints', endpointsAnswer)
  return endpoints.flatMap((endpoint) => endpoint.leases)
}

interface Attached extends AsyncDisposable {
  readonly record: { readonly id: string; readonly socket: string }
  readonly ended: Promise<unknown>
  output(): string
}

/** Attaches the image as the site delivers it, on the endpoint. */
async function attach(words: readonly string[]): Promise<Attached> {
  const child = spawnInside([
    'disk',
    'attach',
    image,
    '--store-ca',
    join(pki.folder, 'ca.pem'),
    '--json',
    ...words,
  ])
  let [stdout, output] = ['', '']
  child.stdout?.on('data', (data) => (stdout += String(data)))
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += String(data)))
  const ended = once(child, 'close')
  await until(() => stdout.includes('\n') || child.exitCode !== null, 'the disk is attached', 120_000)
  if (!stdout.includes('\n')) throw new Error(`the disk was not attached:\n${output}`)
  const record = z
    .looseObject({ id: z.string(), socket: z.string() })
    .parse(JSON.parse(stdout.split('\n')[0]!))
  return {
    record,
    ended,
    output: () => output,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null) child.kill('SIGTERM')
      await ended
    },
  }
}

async function statsOf({ record }: Attached) {
  const schema = z.looseObject({ disks: z.array(z.looseObject({ bytesFetched: z.int() })) })
  const { disks } = schema.parse(JSON.parse(await done(inside(['disk', 'stats', record.id, '--json']))))
  return disks[0]!
}

function uriOf({ record }: Attached): string {
  return `nbd+unix:///?socket=${record.socket}`
}

/** @returns bytes from the stores, of one boot of a machine from the disk that the site delivers */
async function fetchedByBoot(whenUp?: (disk: Attached) => Promise<void>): Promise<number> {
  await using disk = await attach([])
  await bootDisk(nbdDrive(disk.record.socket), AbortSignal.timeout(400_000), () => whenUp?.(disk))
  return (await statsOf(disk)).bytesFetched
}

/** Resolves when nothing more comes from the stores: neither what is read nor what is read ahead. */
async function nothingIsFetched(disk: Attached): Promise<void> {
  for (let before = -1; ; ) {
    const { bytesFetched } = await statsOf(disk)
    if (bytesFetched === before) return
    before = bytesFetched
    await sleep(5_000)
  }
}

async function certDir(): Promise<string> {
  const dir = inFolder('certs')
  await mkdir(dir, { recursive: true })
  await writeFile(join(dir, 'ca.crt'), pki.ca)
  return dir
}

async function done(result: Promise<CliResult>): Promise<string> {
  const { code, stdout, stderr } = await result
  if (code !== 0) throw new Error(`expected success, got ${code}:\n${stdout}\n${stderr}`)
  return stdout
}

function cli(login: string, args: readonly string[], input?: string): Promise<CliResult> {
  return site.cli(args, { login, ...(input !== undefined && { input }) })
}

/** Runs the command line on the endpoint, which has a network and a state of its own. */
async function inside(args: readonly string[], input = ''): Promise<CliResult> {
  const child = spawnInside(args, 'pipe')
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (data) => (stdout += String(data)))
  child.stderr?.on('data', (data) => (stderr += String(data)))
  child.stdin?.end(input)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

function spawnInside(args: readonly string[], stdin: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
  const env = {
    ...environment,
    TRUSTCAST_LOGIN: inFolder('endpoint-login.json'),
    TRUSTCAST_ENDPOINT: inFolder('endpoint'),
    TRUSTCAST_IMAGES: inFolder('endpoint-images'),
    TRUSTCAST_RUN: inFolder('run'),
  }
  return spawn('nsenter', [`--net=/run/netns/${net.name}`, program, ...args], {
    stdio: [stdin, 'pipe', 'pipe'],
    env,
  })
}

interface EndpointNetwork extends AsyncDisposable {
  readonly name: string
}

/**
 * A network of its own, joined to this one by a wire: the endpoint knows `localhost` as the machine at the other end,
 * where these ports are reached.
 */
async function endpointNetwork(ports: readonly number[]): Promise<EndpointNetwork> {
  const name = `tcdisk${process.pid}`
  const [here, there] = [`tcd${process.pid}a`.slice(-15), `tcd${process.pid}b`.slice(-15)]
  const subnet = `10.97.${process.pid % 250}`
  await ip('netns', 'add', name)
  await ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', name)
  await ip('addr', 'add', `${subnet}.1/24`, 'dev', here)
  await ip('link', 'set', here, 'up')
  for (const words of [
    ['addr', 'add', `${subnet}.2/24`, 'dev', there],
    ['link', 'set', there, 'up'],
    ['link', 'set', 'lo', 'up'],
  ])
    await ip('-n', name, ...words)
  const relays: Server[] = []
  for (const port of ports) relays.push(await relay(`${subnet}.1`, port, '127.0.0.1'))
  // Its own `localhost` leads over the wire, so that certificates fit.
  const onward = spawn(
    'nsenter',
    [`--net=/run/netns/${name}`, process.execPath, '-e', relayScript, `${subnet}.1`, ...ports.map(String)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await once(onward.stdout, 'data')
  return {
    name,
    [Symbol.asyncDispose]: async () => {
      onward.kill()
      for (const server of relays) server.close()
      await ip('netns', 'del', name)
      await ip('link', 'del', here).catch(() => {})
    },
  }
}

function ip(...args: readonly string[]) {
  return run('ip', args)
}

/** Passes on every connection to `port` of an address to the same port of another. */
async function relay(address: string, port: number, target: string): Promise<Server> {
  const server = createServer((socket) => {
    const onward = connect(port, target)
    socket.pipe(onward).pipe(socket)
    socket.on('error', () => onward.destroy()).on('close', () => onward.destroy())
    onward.on('error', () => socket.destroy()).on('close', () => socket.destroy())
  })
  server.listen(port, address)
  await once(server, 'listening')
  return server
}

/** The same as a program of its own, since a process is in one network. */
const relayScript = `
const { createServer, connect } = require('node:net')
const [target, ...ports] = process.argv.slice(1)
for (const port of ports) createServer((socket) => {
  const onward = connect(Number(port), target)
  socket.pipe(onward).pipe(socket)
  socket.on('error', () => onward.destroy()).on('close', () => onward.destroy())
  onward.on('error', () => socket.destroy()).on('close', () => socket.destroy())
}).listen(Number(port), '127.0.0.1')
setTimeout(() => console.log('ready'), 200)
`
