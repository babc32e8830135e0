import type { SandboxRequest } from './run-in-sandbox.ts'
import { SandboxError } from './sandbox-error.ts'

const programPath = '/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games'

const isolation = words(
  '--unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try --die-with-parent --new-session --json-status-fd 4',
)

const folders = words(
  '--bind /mnt/root / --proc /proc --dev /dev --tmpfs /tmp --tmpfs /run --ro-bind-try /mnt/passwd /etc/passwd --ro-bind-try /mnt/group /etc/group',
)

/**
 * What bubblewrap is told, after `prepareScript` has shown it disk and home under /mnt.
 *
 * The order matters: later mounts lie on earlier ones. Everything that the machine shows of itself is one of these lines.
 *
 * @throws {SandboxError} SANDBOX_BAD_REQUEST
 */
export function bubblewrapArguments(request: SandboxRequest): readonly string[] {
  const { env, user, home, network, display } = request
  const own = `/run/user/${user.uid}`
  const screen = displayArguments(display, own)
  const variables = {
    PATH: programPath,
    ...env,
    HOME: home.path,
    USER: user.name,
    LOGNAME: user.name,
    XDG_RUNTIME_DIR: own,
    ...screen.variables,
  }
  return [
    ...isolation,
    ...(network ? [] : ['--unshare-net']),
    ...folders,
    ...words(`--perms 0755 --dir /run/user --perms 0700 --dir ${own}`),
    ...homeArguments(home),
    ...screen.words,
    '--clearenv',
    ...Object.entries(variables).flatMap(([name, value]) => ['--setenv', name, value]),
    '--chdir',
    home.path,
  ]
}

/** Other homes on the disk are hidden, and with them that this one is none of theirs. */
function homeArguments({ path, from }: SandboxRequest['home']): readonly string[] {
  if (from === 'disk') return []
  const top = path.slice(0, path.lastIndexOf('/'))
  const hidden = ['--tmpfs', top]
  return from === 'memory'
    ? [...hidden, '--perms', '0700', '--dir', path]
    : [...hidden, '--bind', '/mnt/home', path]
}

function displayArguments(
  display: SandboxRequest['display'],
  own: string,
): { readonly words: readonly string[]; readonly variables: Readonly<Record<string, string>> } {
  if (display === undefined) return { words: [], variables: {} }
  if (display.kind === 'wayland') {
    return {
      words: ['--bind', display.socket, `${own}/wayland-0`],
      variables: { WAYLAND_DISPLAY: 'wayland-0' },
    }
  }
  const number = /^:(\d{1,5})(?:\.\d+)?$/.exec(display.display)?.[1]
  if (number === undefined) {
    throw new SandboxError(
      'SANDBOX_BAD_REQUEST',
      `expected an X display of this machine, got ${display.display}`,
    )
  }
  const socket = `/tmp/.X11-unix/X${number}`
  const { authority } = display
  return {
    words: [
      '--bind',
      socket,
      socket,
      ...(authority === undefined ? [] : ['--ro-bind', authority, `${own}/Xauthority`]),
    ],
    variables: {
      DISPLAY: `:${number}`,
      ...(authority !== undefined && { XAUTHORITY: `${own}/Xauthority` }),
    },
  }
}

function words(text: string): readonly string[] {
  return text.split(' ')
}
