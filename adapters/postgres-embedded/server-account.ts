import { execFile } from 'node:child_process'
import { userInfo } from 'node:os'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { PostgresError } from './postgres-error.ts'

const run: (file: string, args: readonly string[]) => Promise<{ stdout: string }> = promisify(execFile)

/** The system user that the server runs as when root starts it. */
const serverUser = 'trustcast-postgres'

/** The operating-system account that the server runs as. PostgreSQL refuses to be root. */
export interface ServerAccount {
  readonly name: string
  readonly uid: number
  readonly gid: number
  /** Put before a command, runs it as this account, without the supplementary groups of root. */
  readonly prefix: readonly [program: string, ...args: string[]]
}

/**
 * An account of its own when root asks (made when missing), else that of the current user.
 *
 * @throws {PostgresError} POSTGRES_ACCOUNT_FAILED
 */
export async function serverAccount(): Promise<ServerAccount> {
  const me = userInfo()
  if (me.uid !== 0)
    return { name: me.username, uid: me.uid, gid: me.gid, prefix: ['setpriv', '--no-new-privs'] }
  const { uid, gid } = (await lookUp()) ?? (await create())
  const as = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs']
  return { name: serverUser, uid, gid, prefix: ['setpriv', ...as] }
}

/**
 * Checks that the account can walk down to `dir`; access lists count, so the account itself is asked.
 *
 * @throws {PostgresError} POSTGRES_STATE_UNREACHABLE
 */
export async function checkReachable(account: ServerAccount, dir: string): Promise<void> {
  const [program, ...args] = account.prefix
  const script = 'for dir; do [ -x "$dir" ] || { printf %s "$dir"; exit 0; }; done'
  const { stdout } = await run(program, [...args, 'sh', '-c', script, 'sh', ...ancestors(dir)])
  if (stdout === '') return
  throw new PostgresError('POSTGRES_STATE_UNREACHABLE', `user ${account.name} cannot enter ${stdout}`, {
    remedy: `Choose a state directory outside of ${stdout}, such as /var/lib/trustcast, or run: chmod o+x ${stdout}`,
  })
}

async function lookUp(): Promise<{ uid: number; gid: number } | undefined> {
  const entry = await run('getent', ['passwd', serverUser]).catch(() => undefined)
  const [, , uid, gid] = entry?.stdout.split(':') ?? []
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

async function create(): Promise<{ uid: number; gid: number }> {
  const args = [
    '--system',
    '--user-group',
    '--no-create-home',
    '--home-dir=/nonexistent',
    '--shell=/usr/sbin/nologin',
  ]
  let cause: unknown
  await run('useradd', [...args, serverUser]).catch((error: unknown) => {
    cause = error
  })
  // Looked up even after a failure: another site on this machine may have made it meanwhile.
  const account = await lookUp()
  if (account !== undefined) return account
  throw new PostgresError('POSTGRES_ACCOUNT_FAILED', `the system user ${serverUser} could not be made`, {
    cause,
    remedy: `Make it by hand: useradd ${args.join(' ')} ${serverUser}`,
  })
}

/** `/`, `/a`, `/a/b` for `/a/b`. */
function ancestors(dir: string): readonly string[] {
  const parent = dirname(dir)
  return parent === dir ? [dir] : [...ancestors(parent), dir]
}
