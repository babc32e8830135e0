import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmod, chown, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type Engine, exists } from './engine.ts'
import { PostgresError } from './postgres-error.ts'
import type { ServerAccount } from './server-account.ts'

/** The role that the site connects as, and the database that it owns. Not a superuser: SQL never becomes a shell. */
export const siteRole = 'trustcast'

/**
 * Makes the data directory with the site's role and database when it is not there yet; whole or not at all.
 *
 * @throws {PostgresError} POSTGRES_INIT_FAILED, POSTGRES_OTHER_VERSION
 */
export async function ensureCluster(engine: Engine, account: ServerAccount, dataDir: string): Promise<void> {
  if (await exists(dataDir)) {
    await checkVersion(engine, dataDir)
    return takeOver(account, dataDir)
  }
  const partial = `${dataDir}.partial`
  await rm(partial, { recursive: true, force: true })
  await ownDirectory(partial, account)
  const initdb = join(engine.dir, 'bin/initdb')
  // The built-in locale sorts alike on every machine, so that a moved or upgraded site keeps sound indexes.
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
  const options = ['--username=postgres', '--auth=peer', '--data-checksums', '--no-instructions', ...locale]
  await runAs(account, [initdb, '-D', partial, ...options], '')
  // Written as the account: root must not follow what an account of less trust may have put into its own directory.
  await runAs(account, ['tee', join(partial, 'pg_hba.conf')], 'local all all peer map=site\n')
  await runAs(account, ['tee', join(partial, 'pg_ident.conf')], identityMap(account))
  const sql = `CREATE ROLE ${siteRole} LOGIN;\nCREATE DATABASE ${siteRole} OWNER ${siteRole};\n`
  await runAs(account, [join(engine.dir, 'bin/postgres'), '--single', '-D', partial, 'postgres'], sql)
  await rename(partial, dataDir)
  await flushDirectory(dirname(dataDir))
}

/** Makes a directory that only this account and root can enter. */
export async function ownDirectory(path: string, account: ServerAccount): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  await chmod(path, 0o700)
  await chown(path, account.uid, account.gid)
}

/**
 * Who may be whom: the kernel names the account behind each connection (SO_PEERCRED), and only the accounts of site and
 * server have roles. So no password exists that could leak, and the socket's directory (0700) need not be the only guard.
 */
function identityMap(account: ServerAccount): string {
  const systemUsers = new Set([userInfo().username, account.name])
  return [...systemUsers].map((user) => `site "${user}" ${siteRole}\nsite "${user}" postgres\n`).join('')
}

/** A data directory that came from another machine has the number that the account had there, and the server refuses it. */
async function takeOver({ uid, gid }: ServerAccount, dataDir: string): Promise<void> {
  const { uid: before } = await stat(dataDir)
  if (before === uid) return
  const options = ['--recursive', '--no-dereference', `--from=${before}`]
  await promisify(execFile)('chown', [...options, '--', `${uid}:${gid}`, dataDir])
}

async function checkVersion(engine: Engine, dataDir: string): Promise<void> {
  const text = await readFile(join(dataDir, 'PG_VERSION'), 'utf8').catch(() => '')
  const found = /^[0-9]{1,4}/.exec(text)?.[0] ?? 'unknown'
  if (engine.version.startsWith(`${found}.`)) return
  const message = `${dataDir} was written by PostgreSQL ${found}, this is ${engine.version}`
  throw new PostgresError('POSTGRES_OTHER_VERSION', message, {
    remedy: 'Restore a backup of the site into a new state directory.',
  })
}

async function runAs(account: ServerAccount, command: readonly string[], input: string): Promise<void> {
  const [program, ...args] = [...account.prefix, '--pdeathsig=KILL', ...command] as const
  const child = spawn(program, args, {
    cwd: '/',
    env: serverEnvironment,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined).end(input)
  const output = collect(child)
  const code = await new Promise<number | null>((resolve, reject) =>
    child.on('error', reject).on('close', resolve),
  )
  if (code === 0) return
  throw new PostgresError('POSTGRES_INIT_FAILED', `${command[0]} ended with ${code}: ${output().trim()}`)
}

/** Nothing of the caller's environment reaches the server: PG* variables and locales would change what it does. */
export const serverEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/bin:/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
}

const outputLimit = 4096

function collect(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-outputLimit)
    })
  return () => text
}

async function flushDirectory(path: string): Promise<void> {
  await using directory = await open(path)
  await directory.sync()
}
