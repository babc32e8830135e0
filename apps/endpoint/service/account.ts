import { type Account, findAccount } from '../accounts.ts'
import type { Asker } from './asker.ts'
import { ServiceError } from './service-error.ts'

/**
 * As whom a workspace runs: the account that the service was told, else the one whose program asked, as the kernel says it. Never root.
 *
 * @param named `--as`, for machines where one account works and others (or root) may ask
 * @throws {ServiceError} SERVICE_NO_ACCOUNT
 */
export async function accountFor(
  named: string | undefined,
  asker: Pick<Asker, 'uid'> | undefined,
): Promise<Account> {
  const wanted = named ?? asker?.uid
  const found = wanted === undefined ? undefined : await findAccount(wanted)
  if (found !== undefined) return found
  const who = named ?? (asker === undefined ? 'an account that is not known' : `account ${asker.uid}`)
  throw new ServiceError('SERVICE_NO_ACCOUNT', `workspaces do not run as ${who}`, {
    remedy:
      named === undefined
        ? 'Open it in a browser of your own account, or have the service started with --as ACCOUNT.'
        : 'Have the service started with --as and an account of this device that is not root.',
  })
}
