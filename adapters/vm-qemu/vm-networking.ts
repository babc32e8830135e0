import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown } from 'node:fs/promises'
import { join } from 'node:path'
import { portsOf, VmError, type VmNetwork } from '#core/vm/index.ts'
import { serveAllowList } from './allow-list-server.ts'

/** The network that a VM's process is in. Disposed of when that has ended. */
export interface VmNetworking extends AsyncDisposable {
  /** What a command line begins with that is to run in it. */
  readonly enter: readonly string[]
}

const socketName = 'network.sock'

/**
 * A network of its own for a VM. It has no way out: where the release lists hosts, a forwarder in it hands the guest's
 * connections to this process, which dials what is listed.
 *
 * @param where.uid whom the forwarder becomes; undefined when this process may not make networks
 * @throws {VmError} VM_NEEDS_ROOT, VM_NOT_STARTED
 */
export async function enterNetwork(
  network: VmNetwork,
  where: { readonly dir: string; readonly uid: number | undefined; readonly warn: (error: unknown) => void },
): Promise<VmNetworking> {
  const { dir, uid, warn } = where
  const needsWayOut = network.kind === 'user' && network.allow.length > 0
  if (uid === undefined && network.kind === 'user') {
    throw new VmError(
      'VM_NEEDS_ROOT',
      'only root can give a VM a network that is limited to what its release lists',
      {
        remedy: 'Launch it with sudo.',
      },
    )
  }
  if (uid === undefined || !needsWayOut)
    return { enter: ['unshare', '--net'], [Symbol.asyncDispose]: async () => {} }
  await using opening = new AsyncDisposableStack()
  const path = join(dir, socketName)
  const server = await serveAllowList({ path, allow: network.allow, warn })
  opening.defer(() => void server.close())
  await chown(path, uid, uid)
  const script = join(import.meta.dirname, 'network-forwarder.ts')
  const ports = portsOf(network.allow).map(String)
  const forwarder = spawn('unshare', ['--net', process.execPath, script, socketName, String(uid), ...ports], {
    // From within: folders above it are closed to whom it becomes.
    cwd: dir,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  opening.defer(() => void forwarder.kill('SIGKILL'))
  forwarder.stdin.on('error', () => {})
  const ready = await Promise.race([
    once(forwarder.stdout, 'data').then(() => true),
    once(forwarder, 'exit').then(() => false),
  ])
  if (!ready) {
    throw new VmError('VM_NOT_STARTED', 'the network of the VM could not be made', {
      remedy: 'It needs network namespaces and iproute2 (Debian: iproute2).',
    })
  }
  const resources = opening.move()
  return {
    enter: ['nsenter', `--net=/proc/${forwarder.pid}/ns/net`],
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}
