import { readFile } from 'node:fs/promises'
import type { SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'
import type { Asker } from './asker.ts'
import { ServiceError } from './service-error.ts'

export type Account = SandboxRequest['user']

/**
 * As whom a workspace runs: the account that the service was told, else the one whose program asked, as the kernel says it. Never root.
 *
 * @param named `--as`, for machines where one account works and others (or root) may ask
 * @throws {ServiceError} SERVICE_NO_ACCOUNT
 */
export async function accountFor(named: string | undefined, asker: Asker | undefined): Promise<Account> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const found = lines.find(([name, , uid]) =>
    named === undefined ? uid === String(asker?.uid) : name === named,
  )
  const [name, , uid = '0', gid = '0'] = found ?? []
  if (name !== undefined && uid !== '0') return { uid: Number(uid), gid: Number(gid), name }
  const who = named ?? (asker === undefined ? 'an account that is not known' : `account ${asker.uid}`)
  throw new ServiceError('SERVICE_NO_ACCOUNT', `workspaces do not run as ${who}`, {
    remedy: 'Open it in a browser of your own account, or have the service started with --as ACCOUNT.',
  })
}
