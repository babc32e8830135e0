import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { tokenAnswer, type zoneDefinition } from '#core/api/admin.ts'
import { type EndpointClaim, endpointClaimsAnswer } from '#core/api/evidence.ts'
import { endpointsAnswer } from '#core/api/lease.ts'
import { explainAnswer } from '#core/api/person.ts'
import { startInterceptingProxy } from './intercepting-proxy.rig.ts'
import { createLan, end, type Lan, type NetworkNamespace } from './network-namespace.rig.ts'
import { startArpSpoofer, startDnsmasq, startPortal } from './rogue-dhcp.rig.ts'
import { passwordOf, type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { startWireGuard } from './wireguard.rig.ts'

/** What a site sees of the networks that its endpoints are in: a whole site, and the command line and service of an endpoint in another network. */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 240_000 })

const program = join(import.meta.dirname, '..', 'trustcast')

let folder: string
let site: RunningSite
let ada: SignedInClient
let lan: Lan
let laptop: NetworkNamespace
let desk: NetworkNamespace
/** What the person who enrolled it was told. */
let enrolled: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-netsite-'))
  site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  ada = await site.signIn('ada')
  await writeFile(join(folder, 'root.pem'), site.address.ca ?? '')
  lan = await createLan()
  laptop = await lan.join('e', { host: 10 })
  desk = await lan.join('b', { host: 20 })
  await serveStraight()
  const { token } = await ada.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'endpoint', name: 'laptop' },
    tokenAnswer,
  )
  enrolled = await done(cli(['enroll', site.url, '--token', token, '--state', join(folder, 'endpoint')]))
  await signInHere()
})

afterAll(async () => {
  await lan?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

test('who enrols a machine is told what it will tell, and where to see that, before it tells anything', async () => {
  expect(enrolled).toContain('it tells the site each minute what it sees of itself and of its network')
  expect(enrolled).toContain('See all of it first: trustcast posture')
  expect((await claims())['endpoint.reporting']).toMatchObject({ value: 'silent' })
})

test('an address in no zone is outside, in a zone it is what the zone is, and each decision says why', async () => {
  await setZones([])
  expect(await explained()).toMatchObject({
    zoneReason: `Outside because ${laptop.address} is in no zone of this site`,
  })
  await setZones([office()])
  expect(await explained()).toMatchObject({ zoneReason: `Inside because ${laptop.address} is in office` })
})

test('nobody opens the connections of an endpoint that reaches the site straight', async () => {
  expect((await claims())['network.interception']).toMatchObject({ value: 'none', source: 'server' })
})

test('a proxy that ends TLS is found, also when the endpoint trusts it', async () => {
  await using proxy = await startInterceptingProxy({ port: site.port, from: lan.gateway })
  await lan.serve({ [site.port]: proxy.port, [site.port + 1]: site.port + 1 })
  try {
    const refused = await cli(['list'])
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('SITE_AWAY') })
    const trusting = { SSL_CERT_FILE: proxy.caFile, SSL_CERT_DIR: folder }
    // Signing in is possible, with an authority that the machine trusts and nobody has to name.
    await signInHere(trusting, [])
    expect((await claims(trusting))['network.interception']).toMatchObject({
      value: 'detected',
      source: 'server',
    })
    expect(proxy.read.some((line) => line.startsWith('GET /api/v1/me '))).toBe(true)
  } finally {
    await serveStraight()
  }
  await signInHere()
  expect((await claims())['network.interception']).toMatchObject({ value: 'none' })
})

test('who arrives through the VPN is seen to, and comes from its zone', async () => {
  await using tunnel = await startWireGuard(lan, laptop)
  await setZones([office(), { name: 'staff-vpn', kind: 'inside', networks: [tunnel.network], vpn: true }])
  expect((await claims())['network.vpn']).toMatchObject({ value: 'no', source: 'server' })
  await lan.serveThrough(laptop, tunnel)
  try {
    expect((await claims())['network.vpn']).toMatchObject({ value: 'yes', source: 'server' })
    expect(await explained()).toMatchObject({
      zoneReason: `Inside because ${tunnel.address} is in staff-vpn, where the VPN arrives`,
    })
  } finally {
    await serveStraight()
  }
})

test('a zone with a beacon counts while the beacon answers', async () => {
  const config = join(folder, 'beacon.yaml')
  await writeFile(
    config,
    `state: ${folder}/beacon\nlisten: {address: ${desk.address}, port: 7443}\nroot: ${folder}/root.pem\n`,
  )
  const beacon = start(desk, ['beacon', '--config', config])
  const service = start(laptop, [
    'endpoint',
    '--state',
    join(folder, 'endpoint'),
    '--site',
    site.url,
    '--port',
    '0',
  ])
  try {
    await until(() => /its key for the zone is (\S{43})/.test(beacon.output()), 'the beacon serves', 60_000)
    const [, key = ''] = /its key for the zone is (\S{43})/.exec(beacon.output()) ?? []
    await setZones([{ ...office(), beacon: { key, url: `tls://${desk.address}:7443`, maxRttMs: 1000 } }])
    await until(
      async () =>
        /^Inside because [\d.]+ is in office and its beacon answered in [\d.]+ ms$/.test(
          (await explained()).zoneReason ?? '',
        ),
      'the zone counts',
      120_000,
    )
    // A nearer bound than any machine keeps: the same endpoint is too far away.
    await setZones([{ ...office(), beacon: { key, url: `tls://${desk.address}:7443`, maxRttMs: 0.1 } }])
    expect((await explained()).zoneReason).toMatch(/^Outside although [\d.]+ is in office because/)
  } catch (error) {
    throw new Error(`beacon:\n${beacon.output()}\nservice:\n${service.output()}`, { cause: error })
  } finally {
    await end(beacon.child)
    await end(service.child)
    await setZones([office()])
  }
})

/** What somebody on the laptop's network does, and what the laptop says of it. Whoever sits in the gateway's place is remembered, so it is the last. */
const attacks: readonly (readonly [string, RegExp, () => Promise<AsyncDisposable>])[] = [
  [
    'routes by DHCP past everything',
    /DHCP pushes a route to 0\.0\.0\.0\/1/,
    () => dhcpWith('121,0.0.0.0/1,10.0.0.66'),
  ],
  [
    'a captive portal',
    /captive/,
    async () => {
      await using undo = new AsyncDisposableStack()
      undo.use(await startPortal(desk))
      undo.use(await dhcpWith(`114,http://${desk.address}:8080/api`))
      const all = undo.move()
      return { [Symbol.asyncDispose]: () => all.disposeAsync() }
    },
  ],
  [
    'DNS that lies',
    /names that do not exist/,
    () => startDnsmasq(desk, { ...addresses(), lies: desk.address }),
  ],
  [
    'a second machine that answers for the gateway',
    /machines answer for the gateway|became/,
    async () => {
      // What it takes it passes on, or nobody would believe it to be the gateway.
      await desk.exec('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.send_redirects=0')
      return startArpSpoofer(desk, { victim: laptop.address, address: lan.gateway })
    },
  ],
]

test('an endpoint whose network nobody tampers with says nothing against it', async () => {
  await setZones([office()])
  const service = startService()
  try {
    await until(async () => (await integrity())?.detail !== undefined, 'it has looked', 60_000)
    expect(await integrity()).toMatchObject({ value: 'unknown' })
    expect((await explained()).outcome).toBeDefined()
  } finally {
    await end(service.child)
  }
})

test.each(attacks)('%s is reported, and nothing opens from there', async (_what, detail, attack) => {
  await using _attack = await attack()
  const service = startService()
  try {
    await until(async () => detail.test((await integrity())?.detail ?? ''), 'it is known', 60_000)
    expect(await integrity()).toMatchObject({ value: 'suspicious', source: 'self' })
    const decision = await explained()
    expect(decision.outcome).toBeUndefined()
    expect(JSON.stringify(decision.refused)).toContain('This network shows signs of tampering')
  } catch (error) {
    throw new Error(`${JSON.stringify(await integrity())}\n${service.output()}`, { cause: error })
  } finally {
    await end(service.child)
  }
})

function addresses() {
  return { subnet: lan.subnet, range: [100, 150], router: lan.gateway } as const
}

function dhcpWith(option: string): Promise<AsyncDisposable> {
  return startDnsmasq(desk, { ...addresses(), options: [option] })
}

/** The laptop's, whose resolver is the desk. */
function startService(): { child: ChildProcess; output(): string } {
  const script = `echo nameserver ${desk.address} > ${folder}/resolv.conf && mount --bind ${folder}/resolv.conf /etc/resolv.conf && exec "$@"`
  const words = ['endpoint', '--state', join(folder, 'endpoint'), '--site', site.url, '--port', '0']
  return start(
    laptop,
    ['--mount', '--propagation', 'slave', 'sh', '-c', script, 'sh', program, ...words],
    'unshare',
  )
}

async function integrity(): Promise<EndpointClaim | undefined> {
  const { endpoints } = await ada.get('/endpoints', endpointsAnswer)
  const { claims: known } = await ada.get(`/endpoints/${endpoints[0]?.id}/claims`, endpointClaimsAnswer)
  return known.find(({ name }) => name === 'network.integrity')
}

const me = z.looseObject({
  claims: z.array(z.looseObject({ name: z.string(), value: z.string(), source: z.string() })),
})

/** What the site knows of whoever asks from the laptop. */
async function claims(env: Environment = {}) {
  const script = join(import.meta.dirname, 'ask-site.rig.ts')
  const answer = await run(laptop, process.execPath, [script, '/api/v1/me'], { env })
  const { claims: known } = me.parse(JSON.parse(await done(answer)))
  return Object.fromEntries(known.map((claim) => [claim.name, claim]))
}

async function explained() {
  const text = await done(cli(['explain', 'editor', '--json']))
  return explainAnswer.parse(JSON.parse(text)).decision
}

function office(): z.infer<typeof zoneDefinition> {
  return { name: 'office', kind: 'inside', networks: [lan.network] }
}

async function setZones(zones: readonly z.infer<typeof zoneDefinition>[]): Promise<void> {
  await ada.send('PUT', '/admin/zones', { zones }, z.looseObject({}))
}

async function serveStraight(): Promise<void> {
  await lan.serve({ [site.port]: site.port, [site.port + 1]: site.port + 1 })
}

async function signInHere(
  env: Environment = {},
  words: readonly string[] = ['--ca', join(folder, 'root.pem')],
): Promise<void> {
  await done(cli(['login', site.url, '--user', 'ada', ...words], { env, input: `${passwordOf('ada')}\n` }))
}

type Environment = Readonly<Record<string, string>>

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

interface Running {
  readonly env?: Environment
  readonly input?: string
}

/** The command line on the laptop. */
function cli(words: readonly string[], running: Running = {}): Promise<Ended> {
  return run(laptop, program, words, running)
}

async function run(
  where: NetworkNamespace,
  command: string,
  words: readonly string[],
  { env = {}, input = '' }: Running,
): Promise<Ended> {
  const child = spawn(...where.inside(command, ...words), { env: environment(env), stdio: 'pipe' })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (data) => (stdout += String(data)))
  child.stderr.on('data', (data) => (stderr += String(data)))
  child.stdin.end(input)
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

function start(
  where: NetworkNamespace,
  words: readonly string[],
  command = program,
): { child: ChildProcess; output(): string } {
  const child = where.spawn(command, words, { env: environment({}), stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += String(data)))
  return { child, output: () => output }
}

/** A machine whose own authorities a test knows. */
function environment(more: Environment): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...rest } = process.env
  return {
    ...rest,
    TRUSTCAST_LOGIN: join(folder, 'login.json'),
    TRUSTCAST_ENDPOINT: join(folder, 'endpoint'),
    TRUSTCAST_RUN: join(folder, 'run'),
    ...more,
  }
}

async function done(ended: Promise<Ended> | Ended): Promise<string> {
  const { code, stdout, stderr } = await ended
  if (code !== 0) throw new Error(`it ended with ${code}:\n${stdout}\n${stderr}`)
  return stdout
}
