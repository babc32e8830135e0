import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { DisplayLog } from './context.ts'
import { programPath } from './packages.ts'
import type { ProcessId } from './processes.ts'
import type { DisplayFolder } from './state.ts'

const run = promisify(execFile)

/** Where X servers and their clients meet. */
export const xSockets = '/tmp/.X11-unix'

/** A runtime directory holds sockets; what is large belongs into the home. */
const personSize = '64m'

/**
 * What is mounted for one session alone. X sockets: a server takes a few hundred connections and counts those without its cookie.
 * Shared memory, and the person's folder beside the sockets of all displays: either could be filled by one for all, and outlive them.
 */
const mounts = `
mount --bind "$1" ${xSockets} &&
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm &&
mount -t tmpfs -o size=${personSize},mode=0711,nosuid,nodev tmpfs "$2" || exit 98
shift 2
exec "$@"`

/** How the processes of a session are kept apart from what others have. */
export interface Namespaces {
  /** The argv that runs a display server in namespaces of its own. They are gone, with all that was kept in them, when their last process is. */
  readonly make: (folder: DisplayFolder, command: readonly string[]) => readonly string[]
  /** The argv that runs a command in those of a display server. */
  readonly enter: (server: ProcessId, directory: string, command: readonly string[]) => readonly string[]
  /** Where this process finds what a display server finds at `path`. */
  readonly seenBy: (server: ProcessId, path: string) => string
}

/** Mount and IPC namespaces. What the machine mounts and unmounts later is seen in them, too: else they would hold disks that are detached. */
const apart: Namespaces = {
  make: (folder, command) => {
    const own = ['unshare', '--mount', '--ipc', '--propagation', 'slave']
    return [...own, 'sh', '-c', mounts, 'sh', folder.xSockets, folder.person, ...command]
  },
  enter: (server, directory, command) => {
    const those = [`--target=${server.pid}`, '--mount', '--ipc', `--wdns=${directory}`]
    return ['nsenter', ...those, ...command]
  },
  seenBy: (server, path) => `/proc/${server.pid}/root${path}`,
}

const shared: Namespaces = {
  make: (_folder, command) => command,
  enter: (_server, _directory, command) => command,
  seenBy: (_server, path) => path,
}

const environment = { env: { PATH: programPath, LC_ALL: 'C' } }

/** As systemd does when it boots a machine. Where `/` is no mount, as in a chroot, sessions hold what was mounted when they began. */
async function shareMounts(): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8')
  const root = mounts.split('\n').find((line) => line.split(' ')[4] === '/')
  if (root !== undefined && !root.includes(' shared:'))
    await run('mount', ['--make-rshared', '/'], environment)
}

/** As far as root may make any here: in most containers it may not, and sessions share what is at the usual places. */
export async function openNamespaces(log: DisplayLog): Promise<Namespaces> {
  try {
    await run('unshare', ['--mount', '--ipc', 'true'], environment)
    await shareMounts()
    return apart
  } catch {
    log.warn(
      {},
      'no namespaces can be made here: people of this host can keep each other from their displays, and memory that they share may outlive a session',
    )
    return shared
  }
}

/**
 * The argv that runs a display server which keeps its abstract name to itself. X clients try that name first, it has no file mode, and
 * mount namespaces do not divide it: a server that listened there would be open to everybody, and where nobody is bound, anybody could
 * offer a display of theirs. Bound and not listening, it sends clients on to the socket.
 *
 * Spec: unix(7), abstract sockets; libxcb xcb_util.c, _xcb_open
 */
export function keepingAbstractName(display: number, command: readonly string[]): readonly string[] {
  const keep = `
    $^F = 255;
    my $kept;
    socket($kept, PF_UNIX, SOCK_STREAM, 0) && bind($kept, pack_sockaddr_un("\\0" . shift)) or die "$!";
    exec @ARGV or die "$ARGV[0]: $!"`
  return ['perl', '-MSocket', '-e', keep, `${xSockets}/X${display}`, ...command]
}
