import { createHash, randomBytes } from 'node:crypto'
import {
  clearFailures,
  countAttempt,
  insertEnrolmentToken,
  isGroupEmpty,
  isKnownSource,
  type PersonRow,
  personByLogin,
  rehashPassword,
  rememberSource,
  type Store,
  uncountAttempt,
  useEnrolmentToken,
} from '#adapters/store-postgres/index.ts'
import { prepareNewPassword } from '#core/identity/password.ts'
import { sourceOf, throttle, throttleKeys } from '#core/identity/throttle.ts'
import { oneByOne } from '../one-by-one.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { createPerson } from './administering.ts'
import { adminGroup } from './signed-in.ts'

const setupLifetimeMs = 24 * 60 * 60_000

/**
 * Local accounts. Wrong login and wrong password are one answer, in the same time; guessing is slowed where it comes from.
 *
 * @throws {SiteError} SIGN_IN_REFUSED, SIGN_IN_SLOWED
 */
export async function signIn(
  site: Site,
  {
    login,
    password,
    address,
  }: { readonly login: string; readonly password: string; readonly address: string },
): Promise<PersonRow> {
  const { db } = site.store
  const account = login.trim().toLowerCase()
  const found = await personByLogin(db, account)
  const source = sourceOf(address)
  const known = found !== undefined && (await isKnownSource(db, found.id, source))
  const attempt = { account, source, isKnownSource: known }
  const keys = throttleKeys(attempt)
  const now = site.now()
  const verdict = await countAttempt(db, keys.counted, new Date(now), (stored) =>
    throttle(attempt, stored, now),
  )
  if (!verdict.allowed) {
    const seconds = Math.ceil(verdict.retryAfterMs / 1000)
    throw new SiteError('SIGN_IN_SLOWED', 'too many wrong passwords from this address', {
      remedy: `Wait ${seconds} s, then try again.`,
      retryAfter: seconds,
    })
  }
  const { isRight, needsRehash } = await site.hasher.verify(password, found?.password)
  if (found === undefined || !isRight || found.disabled) {
    const accountHash = createHash('sha256').update(account).digest('hex')
    await site.audit.record('sign-in-refused', { type: 'system', id: 'sign-in' }, found?.id, {
      accountHash,
      address,
    })
    site.metrics.count('sign_ins', { outcome: 'refused' })
    throw new SiteError('SIGN_IN_REFUSED', 'the name or the password is wrong', {
      remedy: 'Check both and try again, or ask an admin.',
    })
  }
  await clearFailures(db, keys.cleared)
  await uncountAttempt(db, keys.returned)
  await rememberSource(db, found.id, source, new Date(site.now()))
  await site.audit.record('sign-in', { type: 'person', id: found.id }, undefined, {
    method: 'password',
    address,
  })
  site.metrics.count('sign_ins', { outcome: 'accepted' })
  if (!needsRehash) return found
  return (await rehashPassword(db, found.id, found.password, await site.hasher.hash(password))) ?? found
}

/** @returns a one-time token for the page that creates the first admin; undefined when there is an admin */
export async function createSetupToken({ db }: Store, now: number): Promise<string | undefined> {
  if (!(await isGroupEmpty(db, adminGroup))) return undefined
  const secret = randomBytes(32)
  await insertEnrolmentToken(db, {
    secret_hash: hashOf(secret),
    kind: 'admin',
    name: 'first-admin',
    dns_names: [],
    pool: 'none',
    expires_at: new Date(now + setupLifetimeMs),
  })
  return secret.toString('base64url')
}

/**
 * Creates the first admin. Works once, and only while there is none.
 *
 * @throws {SiteError} TOKEN_REFUSED, CONFLICT
 * @throws {IdentityError} for a password that is not good enough; the token is still good then, and where the login is taken
 */
export async function setUp(
  site: Site,
  wish: { readonly token: string; readonly login: string; readonly name: string; readonly password: string },
): Promise<{ id: string; login: string; name: string }> {
  const { db } = site.store
  if (!(await isGroupEmpty(db, adminGroup))) throw isSetUp()
  // Before the token is used up: the person may choose another password.
  prepareNewPassword(wish.password, [wish.login, wish.name])
  const hash = hashOf(Buffer.from(wish.token, 'base64url'))
  // Of two links at once one makes an admin. It is used up together with what it was for: where the login is taken it is still good.
  return oneByOne(site, adminGroup, () =>
    db.transaction().execute(async (tx) => {
      if (!(await isGroupEmpty(tx, adminGroup))) throw isSetUp()
      if ((await useEnrolmentToken(tx, hash, ['admin'], new Date(site.now()))) === undefined) {
        throw new SiteError('TOKEN_REFUSED', 'this set-up link was used or has expired', {
          remedy: 'Start the site again: it prints a new one.',
        })
      }
      const { id, login, name } = await createPerson(
        site,
        { ...wish, groups: [adminGroup] },
        { type: 'system', id: 'set-up' },
      )
      return { id, login, name }
    }),
  )
}

function isSetUp(): SiteError {
  return new SiteError('CONFLICT', 'this site has an admin already', { remedy: 'Sign in instead.' })
}

function hashOf(secret: Uint8Array): Buffer {
  return createHash('sha256').update(secret).digest()
}
