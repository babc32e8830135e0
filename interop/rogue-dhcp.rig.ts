import { randomBytes } from 'node:crypto'
import { end, type NetworkNamespace } from './network-namespace.rig.ts'

/** What a dnsmasq gives out. */
export interface DhcpRig {
  /** First three parts of the addresses. */
  readonly subnet: string
  /** Last parts of the first and the last address. */
  readonly range: readonly [number, number]
  readonly router: string
  /** Further `--dhcp-option=` values: `121,10.50.1.0/24,10.0.0.66`. */
  readonly options?: readonly string[]
  /** Answers names, too: every name leads there, unless dnsmasq is told more. */
  readonly lies?: string
  readonly words?: readonly string[]
}

/** Starts a real dnsmasq in a namespace: the network's own server, or a rogue one beside it. */
export async function startDnsmasq(
  namespace: NetworkNamespace,
  { subnet, range, router, options = [], lies, words = [] }: DhcpRig,
): Promise<AsyncDisposable> {
  const [first, last] = range
  const child = namespace.spawn(
    'dnsmasq',
    [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--no-resolv',
      '--no-hosts',
      '--pid-file=',
      '--user=root',
      '--leasefile-ro',
      '--no-ping',
      '--log-facility=-',
      '--interface=eth0',
      '--bind-interfaces',
      '--except-interface=lo',
      `--port=${lies === undefined && !words.some((word) => word.startsWith('--address')) ? 0 : 53}`,
      `--dhcp-range=${subnet}.${first},${subnet}.${last},255.255.255.0,1h`,
      `--dhcp-option=3,${router}`,
      ...options.map((option) => `--dhcp-option=${option}`),
      ...(lies === undefined ? [] : [`--address=/#/${lies}`]),
      ...words,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (data) => {
      said += String(data)
      if (/started|DHCP, /.test(said)) resolve()
    })
    child.once('close', (code) => reject(new Error(`dnsmasq ended with ${code}:\n${said}`)))
    child.once('error', reject)
  })
  return { [Symbol.asyncDispose]: () => end(child) }
}

/** Tells a victim again and again that an address is this namespace (dsniff's arpspoof). */
export async function startArpSpoofer(
  namespace: NetworkNamespace,
  { victim, address }: { readonly victim: string; readonly address: string },
): Promise<AsyncDisposable> {
  const child = namespace.spawn('arpspoof', ['-i', 'eth0', '-t', victim, address], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await new Promise<void>((resolve, reject) => {
    child.stderr?.once('data', () => resolve())
    child.once('close', (code) => reject(new Error(`arpspoof ended with ${code}`)))
    child.once('error', reject)
  })
  return { [Symbol.asyncDispose]: () => end(child) }
}

/** A portal of RFC 8908 in a namespace, on port 8080. */
export async function startPortal(namespace: NetworkNamespace): Promise<{ letGo(): void } & AsyncDisposable> {
  const word = randomBytes(4).toString('hex')
  const script = `
let captive = true
process.stdin.on('data', () => { captive = false })
require('node:http').createServer((request, response) => {
  response.setHeader('content-type', 'application/captive+json')
  response.end(JSON.stringify({ captive, 'user-portal-url': 'http://portal.test/' }))
}).listen(8080, '0.0.0.0', () => console.log('${word}'))
`
  const child = namespace.spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  return {
    letGo: () => void child.stdin?.write('x\n'),
    [Symbol.asyncDispose]: () => end(child),
  }
}
