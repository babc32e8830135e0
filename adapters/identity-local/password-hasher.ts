import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { IdentityError } from '#core/identity/identity-error.ts'
import { preparePassword } from '#core/identity/password.ts'
import {
  type Argon2Hash,
  type Argon2Parameters,
  formatPhc,
  needsRehash,
  parsePhc,
} from '#core/identity/phc.ts'

/** Above the least that OWASP's Password Storage Cheat Sheet asks for (19 MiB, 2 passes): 46 MiB, 2 passes. */
export const defaultParameters: Argon2Parameters = { memoryKib: 47_104, passes: 2, parallelism: 1 }

export interface PasswordHasherOptions {
  readonly parameters?: Argon2Parameters
  /** Hashes at the same time; each takes a core and `memoryKib`. */
  readonly concurrency?: number
  /** Calls that wait; those beyond are refused at once. */
  readonly queueLength?: number
}

export interface Verification {
  readonly isRight: boolean
  /** Right, but hashed at another cost: hash it anew now that the password is at hand. */
  readonly needsRehash: boolean
}

/** Hashes passwords with Argon2id and bounds what that costs the machine. Any number of calls may overlap. */
export interface PasswordHasher {
  /**
   * @param password from `prepareNewPassword`; prepared again, which changes nothing
   * @returns a PHC string
   * @throws {IdentityError} IDENTITY_BUSY, IDENTITY_PASSWORD_MALFORMED, IDENTITY_PASSWORD_TOO_LONG
   */
  hash(password: string): Promise<string>
  /**
   * Checks a password. Without a hash, because the account does not exist or has no password, it takes as long and is
   * wrong, so that time does not tell who has an account.
   *
   * @param password untrusted; one that could never have been set is wrong
   * @param phc as stored
   * @throws {IdentityError} IDENTITY_BUSY, IDENTITY_BAD_HASH
   */
  verify(password: string, phc: string | null | undefined): Promise<Verification>
}

export function createPasswordHasher(options: PasswordHasherOptions = {}): PasswordHasher {
  const { parameters = defaultParameters, concurrency = 2, queueLength = 32 } = options
  const inTurn = limitConcurrency(concurrency, queueLength)
  const newHash = (): Argon2Hash => ({ ...parameters, salt: randomBytes(16), tag: randomBytes(32) })
  const nobody = newHash()
  return {
    async hash(password) {
      const prepared = preparePassword(password)
      const hash = newHash()
      return formatPhc({ ...hash, tag: await inTurn(() => derive(prepared, hash)) })
    },
    async verify(password, phc) {
      const stored = phc ? parsePhc(phc) : nobody
      const prepared = prepareGuess(password)
      const tag = await inTurn(() => derive(prepared ?? '', stored))
      const isRight = prepared !== undefined && timingSafeEqual(tag, stored.tag) && stored !== nobody
      return { isRight, needsRehash: isRight && needsRehash(stored, parameters) }
    },
  }
}

const argon2Async = promisify(argon2)

async function derive(
  password: string,
  { memoryKib, passes, parallelism, salt, tag }: Argon2Hash,
): Promise<Uint8Array> {
  const work = { memory: memoryKib, passes, parallelism, tagLength: tag.length }
  return argon2Async('argon2id', { message: password, nonce: salt, ...work })
}

function prepareGuess(password: string): string | undefined {
  try {
    return preparePassword(password)
  } catch (error) {
    if (error instanceof IdentityError) return undefined
    throw error
  }
}

/** Runs at most `concurrency` tasks at once, in the order of their calls; at most `queueLength` wait. */
function limitConcurrency(
  concurrency: number,
  queueLength: number,
): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async (task) => {
    if (running < concurrency) running++
    else if (waiting.length < queueLength) await new Promise<void>((resolve) => waiting.push(resolve))
    else
      throw new IdentityError('IDENTITY_BUSY', `${running + waiting.length} passwords are being checked`, {
        remedy: 'Try again in a few seconds.',
      })
    try {
      return await task()
    } finally {
      // Whoever waited longest takes this place; nobody who comes meanwhile can.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
