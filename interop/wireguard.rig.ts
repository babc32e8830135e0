import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { end, type Lan, type NetworkNamespace } from './network-namespace.rig.ts'

const run = promisify(execFile)

/** A WireGuard tunnel from a namespace to this machine. */
export interface WireGuardTunnel extends AsyncDisposable {
  /** Of this machine's end. */
  readonly gateway: string
  /** Of the member's end: what this machine sees. */
  readonly address: string
  readonly network: string
  /** Interface at this machine's end, and at the member's. */
  readonly link: string
  readonly memberLink: string
}

/** Starts `wireguard-go` on both ends: real in user space, where the kernel has no WireGuard. */
export async function startWireGuard(lan: Lan, member: NetworkNamespace): Promise<WireGuardTunnel> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-wg-'))
  const tag = member.name.slice(2, 8)
  // Their control sockets are shared by all namespaces, so names differ.
  const [here, there] = [`wg${tag}a`, `wg${tag}b`]
  const subnet = lan.subnet.replace(/^10\.\d+/, '10.80')
  const [gateway, address] = [`${subnet}.1`, `${subnet}.2`]
  const keys = await Promise.all(
    ['a', 'b'].map(async (name) => {
      const { stdout: secret } = await run('wg', ['genkey'])
      const file = join(folder, `${name}.key`)
      await writeFile(file, secret, { mode: 0o600 })
      const child = run('wg', ['pubkey'])
      child.child.stdin?.end(secret)
      return { file, public: (await child).stdout.trim() }
    }),
  )
  const [mine, theirs] = keys
  if (mine === undefined || theirs === undefined) throw new Error('two keys were to be made')
  const options = { stdio: 'ignore', env: { ...process.env, WG_PROCESS_FOREGROUND: '1' } } as const
  const children: ChildProcess[] = [
    spawn('wireguard-go', ['-f', here], options),
    member.spawn('wireguard-go', ['-f', there], options),
  ]
  await configured([
    'wg',
    'set',
    here,
    'private-key',
    mine.file,
    'listen-port',
    '51820',
    'peer',
    theirs.public,
    'allowed-ips',
    `${address}/32`,
  ])
  const [program, words] = member.inside(
    'wg',
    'set',
    there,
    'private-key',
    theirs.file,
    'peer',
    mine.public,
    'allowed-ips',
    `${subnet}.0/24`,
    'endpoint',
    `${lan.gateway}:51820`,
    'persistent-keepalive',
    '5',
  )
  await configured([program, ...words])
  await run('ip', ['addr', 'add', `${gateway}/24`, 'dev', here])
  await run('ip', ['link', 'set', here, 'up'])
  await member.ip('addr', 'add', `${address}/24`, 'dev', there)
  await member.ip('link', 'set', there, 'up')
  return {
    gateway,
    address,
    network: `${subnet}.0/24`,
    link: here,
    memberLink: there,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(children.map(end))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The interface comes a moment after its program. */
async function configured([program = '', ...words]: readonly string[]): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await run(program, words)
      return
    } catch (error) {
      if (tries > 50) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
