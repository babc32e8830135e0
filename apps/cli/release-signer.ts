import type { ParseArgsOptionsConfig } from 'node:util'
import { openKeyFile } from '#adapters/release-key-file/index.ts'
import { openTokenKey } from '#adapters/release-key-pkcs11/index.ts'
import type { ReleaseSigner } from '#core/release/index.ts'
import { ask } from './ask.ts'
import { usage } from './cli-error.ts'
import type { Parsed } from './command.ts'
import { readText } from './read-text.ts'

/** Which key signs: one in a file, or one on a token. */
export const signerWords: ParseArgsOptionsConfig = {
  key: { type: 'string' },
  'passphrase-file': { type: 'string' },
  pkcs11: { type: 'string' },
  token: { type: 'string' },
  id: { type: 'string' },
  'pin-file': { type: 'string' },
}
export const signerSynopsis =
  '(--key FILE [--passphrase-file FILE] | --pkcs11 MODULE [--token LABEL] [--id ID] [--pin-file FILE])'

/**
 * Opens the key that a command names. Secrets come from a file, the environment or the terminal, never from the command's words,
 * which everybody on the machine can read.
 *
 * @throws {CliError} USAGE; {KeyFileError} {TokenError}
 */
export async function openSigner(words: Parsed, signal: AbortSignal): Promise<ReleaseSigner> {
  const file = words.text('key')
  const module = words.text('pkcs11')
  if ((file === undefined) === (module === undefined)) throw usage('expected --key or --pkcs11, one of them')
  if (file !== undefined) {
    return openKeyFile(file, await secretOf(words, 'passphrase-file', 'TRUSTCAST_PASSPHRASE', 'Passphrase: '))
  }
  const pin = await secretOf(words, 'pin-file', 'TRUSTCAST_PIN', 'PIN of the token: ')
  const place = { module: module ?? '', token: words.text('token'), id: words.text('id') }
  return openTokenKey({ ...place, pin }, signal)
}

/** A secret from the file that an option names, else from the environment, else from the terminal. */
export async function secretOf(
  words: Parsed,
  option: string,
  variable: string,
  question: string,
): Promise<string> {
  const file = words.text(option)
  if (file !== undefined) return (await readText(file)).replace(/\r?\n$/, '')
  return process.env[variable] ?? ask(question, true)
}
