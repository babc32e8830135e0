import { execFile } from 'node:child_process'
import { chmod, chown, lstat, mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { DisplayError } from '#core/broker/display.ts'
import { programPath } from './packages.ts'
import { findProcesses, killAll, userOf } from './processes.ts'

const run = promisify(execFile)

/**
 * Fifth GECOS field of every account made here. chfn lets a user change only the first four, so nobody can
 * pass an account off as ours.
 */
const marker = 'trustcast'

/** Held by every agent of this machine while it makes an account. INVARIANT: root's alone, for whoever can open a file can keep it locked. */
const lockFile = '/run/trustcast-accounts.lock'
const lockSeconds = 10
/** Exit status of flock when it waited in vain; useradd has none so high. */
const lockedStatus = 100

/** An operating-system user. */
export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}

/**
 * Makes the account and its home when missing. Any number of agents may do so at once.
 *
 * @throws {DisplayError} DISPLAY_BAD_REQUEST for a name of the wrong shape; DISPLAY_ACCOUNT_FOREIGN when the name
 * belongs to an account that was not made here for this `homesDir`; DISPLAY_ACCOUNT_FAILED
 */
export async function ensureAccount(
  name: string,
  fullName: string,
  homesDir: string,
  signal: AbortSignal,
): Promise<Account> {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(name))
    throw new DisplayError('DISPLAY_BAD_REQUEST', `expected an account [a-z][a-z0-9-]{0,31}, got ${name}`)
  const home = join(homesDir, name)
  let account = await find(name, home)
  for (let attempt = 0; account === undefined; attempt++) {
    signal.throwIfAborted()
    const failure = await add(name, fullName, { home, homesDir }, signal)
    account = await find(name, home)
    if (account === undefined && failure !== undefined && attempt >= 50)
      throw new DisplayError('DISPLAY_ACCOUNT_FAILED', `useradd ${name} failed`, { cause: failure })
    // Another agent, or an administrator, holds the lock of /etc/passwd.
    if (account === undefined) await delay(100, undefined, { signal })
  }
  await ensureHome(account)
  return account
}

/**
 * Ends all processes of the account and removes it with its home. Nothing happens when there is none.
 *
 * @throws {DisplayError} DISPLAY_ACCOUNT_FOREIGN, DISPLAY_ACCOUNT_FAILED
 */
export async function removeAccount(name: string, homesDir: string): Promise<void> {
  const account = await find(name, join(homesDir, name))
  if (account === undefined) return
  await killAll(() => findProcesses(async (pid) => (await userOf(pid)) === account.uid))
  for (let attempt = 0; ; attempt++) {
    const failure = await run('userdel', ['--force', '--remove', name], environment).then(
      () => undefined,
      (cause: unknown) => cause,
    )
    if ((await find(name, account.home)) === undefined) return
    if (attempt >= 50)
      throw new DisplayError('DISPLAY_ACCOUNT_FAILED', `userdel ${name} failed`, { cause: failure })
    await delay(100)
  }
}

const environment = { env: { PATH: programPath, LC_ALL: 'C' } }

/** Looks only into the local file: an account of a directory service is never ours. */
async function find(name: string, home: string): Promise<Account | undefined> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const fields = lines.find((line) => line[0] === name) ?? (await findElsewhere(name))
  if (fields === undefined) return undefined
  const [, , uid = '', gid = '', gecos = '', itsHome = ''] = fields
  const isMade = gecos.split(',')[4] === marker
  if (!isMade || itsHome !== home || Number(uid) < 1000)
    throw new DisplayError('DISPLAY_ACCOUNT_FOREIGN', `the account ${name} was not made by this host agent`, {
      remedy: isMade
        ? `Its home is ${itsHome}, not ${home}. If the site was moved from there: userdel ${name}. What is in homes stays, and goes on under this name.`
        : `Have the account ${name} renamed or removed on this machine.`,
    })
  return { name, uid: Number(uid), gid: Number(gid), home }
}

/** The same line from a directory service (NSS), without which useradd would refuse the name. */
async function findElsewhere(name: string): Promise<string[] | undefined> {
  return run('getent', ['passwd', name], environment).then(
    ({ stdout }) => stdout.trimEnd().split(':'),
    () => undefined,
  )
}

async function add(
  name: string,
  fullName: string,
  { home, homesDir }: { readonly home: string; readonly homesDir: string },
  signal: AbortSignal,
): Promise<unknown> {
  const person = fullName.replaceAll(/[:,=\p{Cc}]/gu, ' ').slice(0, 100)
  // Without a password field nobody can sign in to it; subordinate ids would let it make user namespaces of its own.
  const noSubIds = ['-K', 'SUB_UID_COUNT=0', '-K', 'SUB_GID_COUNT=0']
  const ownHome = ['--create-home', '--home-dir', home, '-K', 'HOME_MODE=0700']
  const identity = ['--user-group', '--shell', '/bin/bash', '--comment', `${person},,,,${marker}`]
  const command = [...noSubIds, ...(await numberOf(home, homesDir)), ...ownHome, ...identity, name]
  // useradd looks for the name before it takes its own lock: two at once would make the account twice.
  const once = ['sh', '-c', 'getent passwd "$1" >/dev/null || { shift; useradd "$@"; }', 'sh', name]
  await closeLockFile()
  const lock = ['--timeout', String(lockSeconds), '--conflict-exit-code', String(lockedStatus), lockFile]
  return run('flock', [...lock, ...once, ...command], { ...environment, signal }).then(
    () => undefined,
    (cause: unknown) => {
      if (!(cause instanceof Error && 'code' in cause && cause.code === lockedStatus)) return cause
      throw new DisplayError('DISPLAY_ACCOUNT_FAILED', `${lockFile} was locked for ${lockSeconds} s`, {
        cause,
        remedy: `See who holds it: fuser -v ${lockFile}`,
      })
    },
  )
}

/**
 * Of a home that came from another machine the files have a number already: its account gets that one where it is free, and nobody else
 * gets it, who could read them.
 */
async function numberOf(home: string, homesDir: string): Promise<readonly string[]> {
  const homes = await readdir(homesDir).catch(() => [])
  const owners = await Promise.all(
    homes.map(async (name) => {
      const home = join(homesDir, name)
      // One may be discarded meanwhile.
      return { home, uid: (await lstat(home).catch(() => undefined))?.uid ?? 0 }
    }),
  )
  const people = owners.filter(({ uid }) => uid >= 1000 && uid < largestUid)
  const own = people.find((one) => one.home === home)
  const isTaken = own !== undefined && (await findElsewhere(String(own.uid))) !== undefined
  if (own !== undefined && !isTaken) return ['--uid', String(own.uid)]
  return people.length === 0 ? [] : ['-K', `UID_MIN=${Math.max(...people.map(({ uid }) => uid)) + 1}`]
}

/** Of those that useradd gives. */
const largestUid = 60_000

/** Somebody may hold the lock of one that was open to all already: a new one takes its place. */
async function closeLockFile(): Promise<void> {
  const found = await lstat(lockFile).catch(() => undefined)
  if (found !== undefined && (found.mode & 0o077) !== 0) await rm(lockFile, { force: true })
  await (await open(lockFile, 'a', 0o600)).close()
}

/** Sets right what an administrator or a restored backup left behind. The parent is root's, so no link can be slipped in. */
async function ensureHome(account: Account): Promise<void> {
  await mkdir(account.home, { mode: 0o700 }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw cause
  })
  const found = await lstat(account.home)
  if (!found.isDirectory())
    throw new DisplayError('DISPLAY_ACCOUNT_FAILED', `expected a directory at ${account.home}`)
  if (found.uid !== account.uid) await takeOver(account, found.uid)
  else if (found.gid !== account.gid) await chown(account.home, account.uid, account.gid)
  if ((found.mode & 0o777) !== 0o700) await chmod(account.home, 0o700)
}

/** What is in a home that was another account's is the person's, too. */
async function takeOver({ home, uid, gid }: Account, before: number): Promise<void> {
  const options = ['--recursive', '--no-dereference', `--from=${before}`]
  await run('chown', [...options, '--', `${uid}:${gid}`, home], environment)
}
