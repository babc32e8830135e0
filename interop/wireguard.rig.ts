import { execFile, spawn } from 'node:child_process'
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
  await using starting = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'tc-wg-'))
  starting.defer(() => rm(folder, { recursive: true, force: true }))
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
  for (const child of [
    spawn('wireguard-go', ['-f', here], options),
    member.spawn('wireguard-go', ['-f', there], options),
  ])
    starting.defer(() => end(child))
  await configured([
    'wg',
    'set',
    here,
    'private-key',
    mine.file,
    'peer',
    theirs.public,
    'allowed-ips',
    `${address}/32`,
  ])
  await run('ip', ['addr', 'add', `${gateway}/24`, 'dev', here])
  await run('ip', ['link', 'set', here, 'up'])
  // Chosen by the system once it is up: others may run beside this one.
  const port = (await run('wg', ['show', here, 'listen-port'])).stdout.trim()
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
    `${lan.gateway}:${port}`,
    'persistent-keepalive',
    '5',
  )
  await configured([program, ...words])
  await member.ip('addr', 'add', `${address}/24`, 'dev', there)
  await member.ip('link', 'set', there, 'up')
  const running = starting.move()
  return {
    gateway,
    address,
    network: `${subnet}.0/24`,
    link: here,
    memberLink: there,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
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
