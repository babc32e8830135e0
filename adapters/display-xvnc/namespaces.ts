import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { DisplayError } from '#core/broker/display.ts'
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

/**
 * The argv that runs a command in mount and IPC namespaces of its own. What the machine mounts and unmounts later is seen in them, too.
 * They are gone, with all that was kept in them, when their last process is.
 */
export function inOwnNamespaces(folder: DisplayFolder, command: readonly string[]): readonly string[] {
  const own = ['unshare', '--mount', '--ipc', '--propagation', 'slave']
  return [...own, 'sh', '-c', mounts, 'sh', folder.xSockets, folder.person, ...command]
}

/** The arguments with which `nsenter` runs a command in the namespaces of a display server. */
export function namespacesOf(server: ProcessId, directory: string): readonly string[] {
  return [`--target=${server.pid}`, '--mount', '--ipc', `--wdns=${directory}`]
}

/** Where this process finds what a display server finds at `path`. */
export function asSeenBy(server: ProcessId, path: string): string {
  return `/proc/${server.pid}/root${path}`
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

/** @throws {DisplayError} DISPLAY_NEEDS_ROOT where root may make no namespaces, as in most containers */
export async function requireNamespaces(): Promise<void> {
  const environment = { env: { PATH: programPath, LC_ALL: 'C' } }
  await run('unshare', ['--mount', '--ipc', 'true'], environment).catch((cause: unknown) => {
    throw new DisplayError('DISPLAY_NEEDS_ROOT', 'root cannot make mount and IPC namespaces here', {
      cause,
      remedy: 'Start the host agent outside of a container, or give the container CAP_SYS_ADMIN.',
    })
  })
}
