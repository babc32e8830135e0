import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { CollectorsRigOptions } from './network-collectors.rig.ts'
import { createLan, end, type Lan, type NetworkNamespace } from './network-namespace.rig.ts'
import { startArpSpoofer, startDnsmasq, startPortal } from './rogue-dhcp.rig.ts'
import { startWireGuard } from './wireguard.rig.ts'

const run = promisify(execFile)

/** What an endpoint sees of networks that are not honest: each is a real one, in namespaces. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 })

let folder: string
let lan: Lan
let endpoint: NetworkNamespace
let server: NetworkNamespace
let attacker: NetworkNamespace

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-net-'))
  await writeFile(join(folder, 'resolv.conf'), '')
  lan = await createLan()
  endpoint = await lan.join('e', { host: 10 })
  server = await lan.join('s', { host: 2 })
  attacker = await lan.join('x', { host: 66 })
})

afterEach(async () => {
  await lan?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

test('honest networks have nothing said against them, also two at once with a DHCP server each', async () => {
  await using other = await createLan()
  const otherServer = await other.join('s', { host: 2 })
  const wire = `${other.bridge}e`
  await run('ip', ['link', 'add', wire, 'type', 'veth', 'peer', 'name', 'eth1', 'netns', endpoint.name])
  await run('ip', ['link', 'set', wire, 'master', other.bridge, 'up'])
  await endpoint.ip('link', 'set', 'eth1', 'up')
  await endpoint.ip('addr', 'add', `${other.subnet}.10/24`, 'dev', 'eth1')
  await endpoint.ip('route', 'add', 'default', 'via', other.gateway, 'metric', '600')
  await using _dhcp = await startDnsmasq(server, honest())
  await using _second = await startDnsmasq(otherServer, {
    ...honest(),
    subnet: other.subnet,
    router: other.gateway,
  })
  await using looking = startLooking()
  expect(await looking.until((seen) => seen.dhcp !== undefined)).toEqual({
    routes: unknownIntegrity,
    dhcp: unknownIntegrity,
    gateway: unknownIntegrity,
    'site-path': unknownIntegrity,
  })
})

test('a second DHCP server is noticed', async () => {
  await using _dhcp = await startDnsmasq(server, honest())
  await using _rogue = await startDnsmasq(attacker, { ...honest(), router: attacker.address })
  await using looking = startLooking()
  const { dhcp } = await looking.until((seen) => seen.dhcp?.value === 'suspicious')
  expect(dhcp?.detail).toContain('more than one DHCP server answers')
  for (const { address } of [server, attacker]) expect(dhcp?.detail).toContain(address)
})

test('a gateway that becomes another machine is noticed while it happens', async () => {
  await using looking = startLooking()
  await looking.until((seen) => seen.gateway?.value === 'unknown')
  await using _spoofer = await startArpSpoofer(attacker, { victim: endpoint.address, address: lan.gateway })
  const { gateway } = await looking.until((seen) => seen.gateway?.value === 'suspicious')
  expect(gateway?.detail).toContain(`…${attacker.mac.slice(-5)}`)
  // Whole, it would say where in the world this is.
  expect(gateway?.detail).not.toContain(attacker.mac)
})

test('what was remembered of a gateway outlives the service', async () => {
  {
    await using looking = startLooking()
    await looking.until((seen) => seen.gateway?.value === 'unknown')
  }
  await endpoint.ip(
    'neigh',
    'replace',
    lan.gateway,
    'lladdr',
    attacker.mac,
    'nud',
    'permanent',
    'dev',
    'eth0',
  )
  await using looking = startLooking()
  const { gateway } = await looking.until((seen) => seen.gateway?.value === 'suspicious')
  expect(gateway?.detail).toContain(`became …${attacker.mac.slice(-5)}`)
})

test('routes that DHCP pushes past the VPN are noticed, offered or taken', async () => {
  await using tunnel = await startWireGuard(lan, endpoint)
  const inside = tunnel.network.replace('.0/24', '.128/25')
  {
    await using _rogue = await startDnsmasq(attacker, {
      ...honest(),
      options: [`121,${inside},${attacker.address}`],
    })
    await using looking = startLooking()
    const { dhcp } = await looking.until((seen) => seen.dhcp?.value === 'suspicious')
    expect(dhcp?.detail).toContain(`DHCP pushes a route to ${inside}`)
  }
  await using looking = startLooking()
  await looking.until((seen) => seen.routes?.value === 'unknown')
  await endpoint.ip('route', 'add', inside, 'via', attacker.address, 'proto', 'dhcp')
  await looking.until((seen) => seen.routes?.value === 'suspicious')
  await endpoint.ip('route', 'del', inside)
  await looking.until((seen) => seen.routes?.value === 'unknown')
})

test('a captive portal that DHCP names and that holds the device back is noticed, and is forgiven when it lets go', async () => {
  await using portal = await startPortal(server)
  await using _dhcp = await startDnsmasq(server, {
    ...honest(),
    options: [`114,http://${server.address}:8080/api`],
  })
  await using looking = startLooking()
  const { dhcp } = await looking.until((seen) => seen.dhcp?.value === 'suspicious')
  expect(dhcp?.detail).toContain('captive portal')
  portal.letGo()
  await looking.until((seen) => seen.dhcp?.value === 'unknown')
})

test('DNS that finds what cannot exist is noticed', async () => {
  await writeFile(join(folder, 'resolv.conf'), `nameserver ${attacker.address}\n`)
  await using _liar = await startDnsmasq(attacker, { ...honest(), lies: attacker.address })
  await using looking = startLooking()
  const seen = await looking.until((all) => all['site-path']?.value === 'suspicious')
  expect(seen['site-path']?.detail).toContain('finds names that do not exist')
})

test('a captive portal that answers in the place of the site is noticed until it lets go; the site that leads to itself is not', async () => {
  await resolveBy(server)
  await using _dns = await startDnsmasq(server, {
    ...honest(),
    words: [`--address=/site.test/${server.address}`],
  })
  const site = { url: 'https://site.test:8443', rootPem: (await certificate('root')).pem }
  const answers = [
    { status: 302, location: 'https://site.test/', value: 'unknown', detail: unknownIntegrity.detail },
    { status: 302, location: 'http://wifi.test/login', value: 'suspicious', detail: portalAtSite },
    { status: 511, location: undefined, value: 'suspicious', detail: portalAtSite },
  ]
  for (const { status, location, value, detail } of answers) {
    await using portal = await startRedirecting(status, location)
    await using looking = startLooking({ site })
    const seen = await looking.until((all) => all['site-path'] !== undefined)
    expect(seen['site-path']).toEqual({ value, detail })
    if (status !== 511) continue
    await portal[Symbol.asyncDispose]()
    await looking.until((all) => all['site-path']?.value === 'unknown')
  }
})

test('DNS that leads to somebody else for the site is noticed; DNS that leads to the site is not', async () => {
  await resolveBy(server)
  const [own, foreign] = [await certificate('root'), await certificate('foreign')]
  const site = { url: 'https://site.test:8443', rootPem: own.pem }
  await using _site = await startTls(server, own)
  await using _other = await startTls(attacker, foreign)
  const look = async (address: string) => {
    await using _dns = await startDnsmasq(server, { ...honest(), words: [`--address=/site.test/${address}`] })
    await using looking = startLooking({ site })
    return (await looking.until((all) => all['site-path'] !== undefined))['site-path']
  }
  expect(await look(server.address)).toEqual(unknownIntegrity)
  const lied = await look(attacker.address)
  expect(lied?.value).toBe('suspicious')
  expect(lied?.detail).toContain(`leads to ${attacker.address} for the site, where somebody else answers`)
  expect(lied?.detail).toContain('with a certificate of another authority')
})

const portalAtSite = 'a captive portal answers at the site'
const unknownIntegrity = { value: 'unknown', detail: 'nothing speaks against this network' }

function honest() {
  return { subnet: lan.subnet, range: [100, 120], router: lan.gateway } as const
}

type Seen = Readonly<Record<string, { readonly value: string; readonly detail: string } | undefined>>

interface Looking extends AsyncDisposable {
  until(isTrue: (seen: Seen) => boolean): Promise<Seen>
}

/** The collectors of an endpoint, in its namespace. */
function startLooking(change: Partial<CollectorsRigOptions> = {}): Looking {
  const options: CollectorsRigOptions = {
    memory: join(folder, 'gateways.json'),
    resolvConf: join(folder, 'resolv.conf'),
    ...change,
  }
  const child = endpoint.spawn(
    'unshare',
    [
      // Names are looked up by what this network says, not by what this machine's does.
      '--mount',
      // Else what others unmount meanwhile stays mounted in here, and in use.
      '--propagation',
      'slave',
      'sh',
      '-c',
      'mount --bind "$0" /etc/resolv.conf && exec "$@"',
      options.resolvConf,
      process.execPath,
      join(import.meta.dirname, 'network-collectors.rig.ts'),
      JSON.stringify(options),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let [printed, said] = ['', '']
  child.stdout?.on('data', (data) => (printed += String(data)))
  child.stderr?.on('data', (data) => (said += String(data)))
  return {
    until: async (isTrue) => {
      const seen = (): Seen => JSON.parse(printed.trim().split('\n').at(-1) || '{}') as Seen
      await expect
        .poll(() => isTrue(seen()), { timeout: 60_000, message: `${printed}\n${said}` })
        .toBe(true)
        .catch((error: unknown) => {
          throw new Error(`it was never seen:\n${printed}\n${said}`, { cause: error })
        })
      return seen()
    },
    [Symbol.asyncDispose]: () => end(child),
  }
}

/** Names are looked up there. */
async function resolveBy({ address }: NetworkNamespace): Promise<void> {
  await writeFile(join(folder, 'resolv.conf'), `nameserver ${address}\n`)
}

interface Certificate {
  readonly certFile: string
  readonly keyFile: string
  readonly pem: string
}

/** One that signs itself, for the site's name. */
async function certificate(name: string): Promise<Certificate> {
  const [certFile, keyFile] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)]
  const words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=site.test'
  await run('openssl', [...words.split(' '), '-keyout', keyFile, '-out', certFile])
  return { certFile, keyFile, pem: await readFile(certFile, 'utf8') }
}

async function startTls(
  namespace: NetworkNamespace,
  { certFile, keyFile }: Certificate,
): Promise<AsyncDisposable> {
  const words = ['s_server', '-www', '-accept', '8443', '-cert', certFile, '-key', keyFile]
  // It complains of everybody who leaves.
  const child = namespace.spawn('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'] })
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  return { [Symbol.asyncDispose]: () => end(child) }
}

/** Who answers every unencrypted request in the server's namespace with this. */
async function startRedirecting(status: number, location: string | undefined): Promise<AsyncDisposable> {
  const headers = JSON.stringify(location === undefined ? {} : { location })
  const script = `
require('node:http').createServer((request, response) => {
  response.writeHead(${status}, ${headers}).end()
}).listen(80, '0.0.0.0', () => console.log('listens'))
`
  const child = server.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  return { [Symbol.asyncDispose]: () => end(child) }
}
