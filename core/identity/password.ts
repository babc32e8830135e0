import { IdentityError } from './identity-error.ts'

const shortest = 12
const longest = 1024

/**
 * Brings a password into the one form that is hashed, so that it is the same typed on any keyboard and system.
 *
 * Source: RFC 8265, section 4.2.2 (OpaqueString): other spaces become U+0020, then NFC; no control characters
 *
 * @param text untrusted
 * @throws {IdentityError} IDENTITY_PASSWORD_MALFORMED, IDENTITY_PASSWORD_TOO_LONG
 */
export function preparePassword(text: string): string {
  // Before anything else is done with it: normalisation takes time and may lengthen.
  if (text.length > 2 * longest) throw tooLong()
  if (!text.isWellFormed() || /\p{Cc}/u.test(text))
    throw new IdentityError('IDENTITY_PASSWORD_MALFORMED', 'a password cannot hold control characters')
  const prepared = text.replace(/\p{Zs}/gu, ' ').normalize('NFC')
  if (lengthOf(prepared) > longest) throw tooLong()
  return prepared
}

/**
 * Prepares a new password and refuses one that is quickly guessed. No rules on kinds of characters: they make passwords
 * worse (NIST SP 800-63B, section 5.1.1.2).
 *
 * @param own words that belong to the account, such as its login: they count as commonly guessed
 * @throws {IdentityError} all IDENTITY_PASSWORD_ codes
 */
export function prepareNewPassword(text: string, own: readonly string[]): string {
  const prepared = preparePassword(text)
  const length = lengthOf(prepared)
  if (length < shortest)
    throw new IdentityError(
      'IDENTITY_PASSWORD_TOO_SHORT',
      `expected at least ${shortest} characters, got ${length}`,
      {
        remedy: 'Four words that do not belong together are easy to remember.',
      },
    )
  if (isCommon(prepared, own))
    throw new IdentityError(
      'IDENTITY_PASSWORD_COMMON',
      'this password is among the first that others would try',
      {
        remedy: 'Take four words that do not belong together.',
      },
    )
  return prepared
}

/** Words that fill lists of leaked passwords once digits and signs at their ends are left out. */
const commonWords: ReadonlySet<string> = new Set(
  `abc abcd abcdef abcdefgh abcdefghijkl admin administrator asdf asdfgh asdfghjkl baseball changeme changemenow
   changethis computer correcthorsebatterystaple default demo dragon football geheim guest hello iamgod iloveyou
   internet kennwort letmein letmeinnow login loveyou master monkey mypassword newpassword nopassword opensesame pass
   passw passwd password passwort princess qazwsx qazwsxedc qwer qwerty qwertyuiop qwertyuiopasdfghjkl qwertz
   qwertzuiop root secret starwars summer sunshine superman temp temporary test testing thisismypassword trustcast
   trustno user welcome whatever winter zxcvbn zxcvbnm`.split(/\s+/),
)

const sequences: readonly string[] = [
  '0123456789'.repeat(3),
  '1234567890'.repeat(3),
  'abcdefghijklmnopqrstuvwxyz',
]

function isCommon(password: string, own: readonly string[]): boolean {
  const folded = password.toLowerCase()
  if (new Set(folded).size < 5) return true
  if (
    sequences.some((line) => line.includes(folded) || line.includes(Array.from(folded).toReversed().join('')))
  )
    return true
  const words = new Set([...commonWords, ...own.map(lettersOf).filter((word) => word.length > 2)])
  return isWordRepeated(lettersOf(unmasked(folded)), words) || isWordRepeated(lettersOf(folded), words)
}

/** `p@ssw0rd` is `password` to every guesser. */
function unmasked(folded: string): string {
  const letters: Readonly<Record<string, string>> = {
    '@': 'a',
    '4': 'a',
    '3': 'e',
    '1': 'i',
    '!': 'i',
    '0': 'o',
    $: 's',
    '5': 's',
  }
  const word = folded.replace(/^[^\p{L}@$]+|[^\p{L}@$]+$/gu, '')
  return Array.from(word, (character) => letters[character] ?? character).join('')
}

function lettersOf(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}]/gu, '')
}

/** True for one listed word, once or many times over. */
function isWordRepeated(text: string, words: ReadonlySet<string>): boolean {
  for (let times = 1; text.length / times >= 3; times++) {
    const word = text.slice(0, text.length / times)
    if (words.has(word) && word.repeat(times) === text) return true
  }
  return false
}

/** In code points, as people's counts of letters come closest to. */
function lengthOf(text: string): number {
  return Array.from(text).length
}

function tooLong(): IdentityError {
  return new IdentityError('IDENTITY_PASSWORD_TOO_LONG', `expected at most ${longest} characters`)
}
