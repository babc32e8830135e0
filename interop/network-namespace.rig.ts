import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A network of its own, with one wire (`eth0`) into a local network. */
export interface NetworkNamespace {
  /** As `ip netns` knows it. */
  readonly name: string
  /** Of its wire, without prefix; it has the address from the start, or gets it from DHCP. */
  readonly address: string
  readonly mac: string
  /** Program and words that run there. */
  inside(program: string, ...words: readonly string[]): [string, string[]]
  exec(program: string, ...words: readonly string[]): Promise<string>
  spawn(program: string, words: readonly string[], options?: SpawnOptions): ChildProcess
  ip(...words: readonly string[]): Promise<void>
}

/** A local network: a switch with namespaces on it, and this machine as its gateway at `.1`. */
export interface Lan extends AsyncDisposable {
  /** `10.97.12`: the first three parts of its addresses. */
  readonly subnet: string
  readonly network: string
  readonly gateway: string
  /** The switch, and this machine's own wire into it. */
  readonly bridge: string
  /**
   * Plugs a new namespace in.
   *
   * @param options.host last part of its address, 2 to 250
   * @param options.unnumbered without address and route: for DHCP
   */
  join(
    label: string,
    options: { readonly host: number; readonly unnumbered?: boolean },
  ): Promise<NetworkNamespace>
  /**
   * Lets members reach ports of this machine's loopback at the gateway, each `port → target`, with their own addresses as source; and in
   * each member `localhost:port` is that, so that certificates for `localhost` fit. Called again, it replaces what was before.
   */
  serve(ports: Readonly<Record<number, number>>): Promise<void>
  /** The same for one member through a tunnel that ends at this machine. */
  serveThrough(
    member: NetworkNamespace,
    tunnel: { readonly link: string; readonly memberLink: string; readonly gateway: string },
  ): Promise<void>
}

/** Needs root, `ip` and `nft`. */
export async function createLan(): Promise<Lan> {
  const id = randomBytes(3).toString('hex')
  const subnet = `10.${100 + ((randomBytes(1)[0] ?? 0) % 100)}.${randomBytes(1)[0]}`
  const bridge = `tb${id}`
  const gateway = `${subnet}.1`
  const members: NetworkNamespace[] = []
  const tunnels: string[] = []
  let served: Readonly<Record<number, number>> = {}
  await run('ip', ['link', 'add', bridge, 'type', 'bridge'])
  await run('ip', ['addr', 'add', `${gateway}/24`, 'dev', bridge])
  await run('ip', ['link', 'set', bridge, 'up'])
  await run('sysctl', ['-qw', `net.ipv4.conf.${bridge}.route_localnet=1`])
  return {
    subnet,
    network: `${subnet}.0/24`,
    gateway,
    bridge,
    join: async (label, { host, unnumbered = false }) => {
      const member = await plug({ id, bridge, label, address: `${subnet}.${host}` })
      members.push(member)
      await member.exec('sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1')
      if (!unnumbered) {
        await member.ip('addr', 'add', `${member.address}/24`, 'dev', 'eth0')
        await member.ip('route', 'add', 'default', 'via', gateway)
      }
      await redirectInside(member, gateway, Object.keys(served))
      return member
    },
    serve: async (ports) => {
      served = ports
      await nft(['nft'], tableOf(bridge, 'prerouting', rulesFor(ports, bridge, gateway)))
      for (const member of members) await redirectInside(member, gateway, Object.keys(ports))
    },
    serveThrough: async (member, tunnel) => {
      await run('sysctl', ['-qw', `net.ipv4.conf.${tunnel.link}.route_localnet=1`])
      await nft(['nft'], tableOf(tunnel.link, 'prerouting', rulesFor(served, tunnel.link, tunnel.gateway)))
      tunnels.push(tunnel.link)
      await member.exec('sysctl', '-qw', `net.ipv4.conf.${tunnel.memberLink}.route_localnet=1`)
      await redirectInside(member, tunnel.gateway, Object.keys(served))
    },
    [Symbol.asyncDispose]: async () => {
      for (const link of tunnels) await run('nft', ['delete', 'table', 'ip', link]).catch(() => undefined)
      for (const { name } of members) await run('ip', ['netns', 'del', name]).catch(() => undefined)
      await run('nft', ['delete', 'table', 'ip', bridge]).catch(() => undefined)
      await run('ip', ['link', 'del', bridge])
    },
  }
}

function rulesFor(ports: Readonly<Record<number, number>>, link: string, gateway: string): readonly string[] {
  return Object.entries(ports).map(
    ([port, target]) => `iifname "${link}" ip daddr ${gateway} tcp dport ${port} dnat to 127.0.0.1:${target}`,
  )
}

async function plug(options: {
  readonly id: string
  readonly bridge: string
  readonly label: string
  readonly address: string
}): Promise<NetworkNamespace> {
  const { id, bridge, label, address } = options
  const name = `tc${id}-${label}`
  const wire = `tv${id}${label}`.slice(0, 15)
  await run('ip', ['netns', 'add', name])
  await run('ip', ['link', 'add', wire, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name])
  await run('ip', ['link', 'set', wire, 'master', bridge, 'up'])
  for (const link of ['lo', 'eth0']) await run('ip', ['-n', name, 'link', 'set', link, 'up'])
  const { stdout } = await run('ip', ['-n', name, '-j', 'link', 'show', 'eth0'])
  const [{ address: mac = '' } = {}] = JSON.parse(stdout) as { address?: string }[]
  const inside = (program: string, ...words: readonly string[]): [string, string[]] => [
    'nsenter',
    [`--net=/run/netns/${name}`, program, ...words],
  ]
  return {
    name,
    address,
    mac,
    inside,
    exec: async (program, ...words) => (await run(...inside(program, ...words))).stdout,
    spawn: (program, words, spawnOptions = {}) => spawn(...inside(program, ...words), spawnOptions),
    ip: async (...words) => void (await run('ip', ['-n', name, ...words])),
  }
}

/** What is sent to the member's own loopback leaves for the gateway, as if it had been sent there. */
async function redirectInside(
  member: NetworkNamespace,
  gateway: string,
  ports: readonly string[],
): Promise<void> {
  if (ports.length === 0) return
  const set = `{ ${ports.join(', ')} }`
  const text = `${tableOf('served', 'output', [`ip daddr 127.0.0.1 tcp dport ${set} dnat to ${gateway}`])}
add table ip leaving
delete table ip leaving
table ip leaving {
  chain leaving {
    type nat hook postrouting priority 100
    ip saddr 127.0.0.0/8 ip daddr ${gateway} masquerade
  }
}
`
  const [program, words] = member.inside('nft')
  await nft([program, ...words], text)
}

function tableOf(name: string, hook: 'prerouting' | 'output', rules: readonly string[]): string {
  return `add table ip ${name}
delete table ip ${name}
table ip ${name} {
  chain ${hook} {
    type nat hook ${hook} priority -100
${rules.map((rule) => `    ${rule}`).join('\n')}
  }
}
`
}

async function nft([program = 'nft', ...words]: readonly string[], text: string): Promise<void> {
  const child = spawn(program, [...words, '-f', '-'], { stdio: ['pipe', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (data) => (said += String(data)))
  child.stdin.end(text)
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`nft refused:\n${text}\n${said}`)
}

/** Ends a program that a test has started, and waits for its end. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
  await gone
  clearTimeout(timer)
}
