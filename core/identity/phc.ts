import { IdentityError } from './identity-error.ts'

/** What one guess costs; RFC 9106, section 3.1. */
export interface Argon2Parameters {
  readonly memoryKib: number
  readonly passes: number
  readonly parallelism: number
}

/** A password's hash by Argon2id, version 19. */
export interface Argon2Hash extends Argon2Parameters {
  readonly salt: Uint8Array
  readonly tag: Uint8Array
}

/**
 * Writes `$argon2id$v=19$m=…,t=…,p=…$salt$tag`.
 *
 * Source: PHC string format; `encode_string` of the Argon2 reference implementation
 */
export function formatPhc(hash: Argon2Hash): string {
  const parameters = `m=${hash.memoryKib},t=${hash.passes},p=${hash.parallelism}`
  return `$argon2id$v=19$${parameters}$${toBase64(hash.salt)}$${toBase64(hash.tag)}`
}

/**
 * Reads what `formatPhc` writes, in that one spelling. Costs are bounded, so that a bent row of the database cannot make
 * the site work for minutes or take all its memory.
 *
 * @throws {IdentityError} IDENTITY_BAD_HASH; the message never repeats the text
 */
export function parsePhc(text: string): Argon2Hash {
  const [, m, t, p, salt = '', tag = ''] = pattern.exec(text.slice(0, maxLength + 1)) ?? []
  const hash = {
    memoryKib: Number(m),
    passes: Number(t),
    parallelism: Number(p),
    salt: new Uint8Array(Buffer.from(salt, 'base64')),
    tag: new Uint8Array(Buffer.from(tag, 'base64')),
  }
  if (isBounded(hash) && text.length <= maxLength && formatPhc(hash) === text) return hash
  throw new IdentityError('IDENTITY_BAD_HASH', 'expected an Argon2id hash, version 19, as a PHC string', {
    remedy: 'Set a new password for this account.',
  })
}

/** True when the hash costs a guesser less than `wanted`, or is shaped otherwise: hash anew at the next sign-in. */
export function needsRehash(hash: Argon2Hash, wanted: Argon2Parameters): boolean {
  const { memoryKib, passes, parallelism } = wanted
  const isSame = hash.memoryKib === memoryKib && hash.passes === passes && hash.parallelism === parallelism
  return !isSame || hash.salt.length < 16 || hash.tag.length < 32
}

const maxLength = 256
const pattern =
  /^\$argon2id\$v=19\$m=([0-9]{1,6}),t=([0-9]{1,2}),p=([0-9])\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

function isBounded({ memoryKib, passes, parallelism, salt, tag }: Argon2Hash): boolean {
  const isWork = passes >= 1 && passes <= 16 && parallelism >= 1 && parallelism <= 8
  const isMemory = memoryKib >= 8 * parallelism && memoryKib <= 262_144
  return isWork && isMemory && salt.length >= 8 && salt.length <= 64 && tag.length >= 16 && tag.length <= 64
}

/** Standard alphabet without padding. */
function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '')
}
