import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { programPath } from './packages.ts'

/** As whom and where a program of a session runs. */
export interface Launch {
  readonly uid: number
  readonly gid: number
  /** Account whose supplementary groups it gets; without one it gets none. */
  readonly account?: string
  /** Cgroup directories it joins before it runs. */
  readonly cgroups: readonly string[]
  /** Runs a command as root in other namespaces, after the cgroups are joined. */
  readonly namespaces?: (command: readonly string[]) => readonly string[]
  /** The whole environment besides PATH. */
  readonly variables: Readonly<Record<string, string>>
  readonly directory: string
  /** What the kernel kills first when memory runs out: -1000 never to 1000. */
  readonly oomScore: number
}

/**
 * Joins the cgroups as root, then gives up root for good, so that nothing it starts was ever outside of them.
 * A cgroup that cannot be joined fails the launch; an agent without CAP_SYS_RESOURCE cannot protect a process from
 * the kernel's killer, which only makes a bad moment worse. No core files: they would hold screens.
 */
const join = `
umask 077
ulimit -c 0
echo "$1" 2>/dev/null >/proc/self/oom_score_adj
shift
while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 97; shift; done
shift
exec "$@"`

/**
 * Starts a program that outlives this process: own session, nothing shared but `stdio`.
 *
 * @throws when it cannot be started at all; a program that is not found ends with status 127
 */
export async function launch(
  how: Launch,
  argv: readonly string[],
  stdio: StdioOptions,
): Promise<ChildProcess> {
  const groups = how.account === undefined ? ['--clear-groups'] : ['--init-groups']
  const user = [`--reuid=${how.account ?? how.uid}`, `--regid=${how.gid}`, ...groups]
  const asUser = ['setpriv', '--no-new-privs', '--inh-caps=-all', ...user, ...argv]
  const command = how.namespaces?.(asUser) ?? asUser
  const child = spawn('/bin/sh', ['-c', join, 'sh', String(how.oomScore), ...how.cgroups, '--', ...command], {
    cwd: how.directory,
    detached: true,
    env: { PATH: programPath, ...how.variables },
    stdio,
  })
  await once(child, 'spawn')
  child.unref()
  return child
}

/**
 * Runs `use` with a descriptor that writes into a display's log pipe.
 */
export async function withLog<T>(logPipe: string, use: (log: number) => Promise<T>): Promise<T> {
  // Reading and writing, because opening only to write would wait for a reader.
  const pipe = await open(logPipe, constants.O_RDWR)
  try {
    return await use(pipe.fd)
  } finally {
    await pipe.close()
  }
}
