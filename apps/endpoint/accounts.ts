import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'

const run = promisify(execFile)
const timeoutMs = 15_000

/** Somebody who can sign in to this machine. */
export type Account = SandboxRequest['user']

/**
 * Accounts of this machine and of the directory service that it asks (NSS): people of a company are seldom in /etc/passwd.
 *
 * @param wanted a name, or an id as the kernel says it
 * @returns undefined where there is none, and for root
 */
export async function findAccount(wanted: string | number): Promise<Account | undefined> {
  const [name, , uid, gid] = (await entryOf('passwd', String(wanted))) ?? []
  // A name of digits would be taken for an id.
  const isOther = typeof wanted === 'string' && /^\d+$/.test(wanted) && name !== wanted
  if (name === undefined || uid === '0' || isOther) return undefined
  return { name, uid: Number(uid), gid: Number(gid) }
}

/** @returns the id of a group of this machine or its directory service */
export async function findGroup(name: string): Promise<number | undefined> {
  const [known, , gid] = (await entryOf('group', name)) ?? []
  return known === undefined || (/^\d+$/.test(name) && known !== name) ? undefined : Number(gid)
}

/**
 * What an account is called in a system that does not know it: `CORP\Ann.Ek` and `ann.ek@corp.example` are no user names there.
 *
 * Spec: useradd(8): a lower-case letter or underscore, then these, digits and dashes; 32 in all.
 */
export function nameInside(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9_-]/g, '-')
    .replace(/^(?![a-z_])/, '_')
    .slice(0, 32)
}

/** Spec: getent(1): one line, exit status 2 where nothing is found. */
async function entryOf(database: string, key: string): Promise<readonly string[] | undefined> {
  try {
    const { stdout } = await run('getent', ['--', database, key], { timeout: timeoutMs })
    return stdout.trimEnd().split('\n', 1)[0]?.split(':')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 2) return undefined
    throw error
  }
}
