import { generateKeyPairSync } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { prepareNewPassword } from '#core/identity/password.ts'
import {
  decodePublicKey,
  encodePublicKey,
  keyIdOf,
  memorySigner,
  ReleaseError,
  type ReleaseSigner,
  type TufKey,
  tufKeyOf,
} from '#core/release/index.ts'
import { KeyFileError } from './errors.ts'
import { damaged, parseSealedKey, sealKey, unsealKey } from './key-format.ts'

/** Where the public half lies: the file to hand to whoever names the keys of a release. */
export function publicPathOf(path: string): string {
  return `${path}.pub`
}

/**
 * Makes an Ed25519 key: the private half sealed under a passphrase in a file that only its owner can read, the public
 * half beside it. Never replaces a file.
 *
 * @param options.name whose key it is
 * @throws {KeyFileError} KEY_FILE_EXISTS, KEY_FILE_UNWRITABLE; {IdentityError} IDENTITY_PASSWORD_… for a passphrase that is quickly guessed
 */
export async function createKeyFile(options: {
  readonly path: string
  readonly name?: string
  readonly passphrase: string
}): Promise<TufKey> {
  const passphrase = prepareNewPassword(options.passphrase, options.name === undefined ? [] : [options.name])
  const { privateKey } = generateKeyPairSync('ed25519')
  const publicKey = tufKeyOf(privateKey, options.name)
  await writeNew(options.path, await sealKey(privateKey, publicKey, passphrase), 0o600)
  try {
    await writeNew(publicPathOf(options.path), encodePublicKey(publicKey), 0o644)
  } catch (error) {
    // Half a pair is of no use, and nothing was ever signed with it.
    await rm(options.path)
    throw error
  }
  return publicKey
}

/**
 * The public key of a file: of a public half, or of a private one, for which no passphrase is needed.
 *
 * @throws {KeyFileError} KEY_FILE_MISSING, KEY_FILE_DAMAGED; {ReleaseError} RELEASE_BAD_KEY
 */
export async function readKeyFile(path: string): Promise<TufKey> {
  const { text } = await readBounded(path)
  if (text.includes('"ciphertext"')) return parseSealedKey(text, path).public
  try {
    return decodePublicKey(Buffer.from(text))
  } catch (cause) {
    if (cause instanceof ReleaseError && cause.code === 'RELEASE_MALFORMED')
      throw damaged(path, cause.message, cause)
    throw cause
  }
}

/**
 * Opens a private key.
 *
 * @throws {KeyFileError} KEY_FILE_MISSING, KEY_FILE_EXPOSED, KEY_FILE_DAMAGED, KEY_FILE_WRONG_PASSPHRASE
 */
export async function openKeyFile(path: string, passphrase: string): Promise<ReleaseSigner> {
  const { text, mode } = await readBounded(path)
  if ((mode & 0o077) !== 0) {
    throw new KeyFileError('KEY_FILE_EXPOSED', `others on this machine can read ${path}`, {
      remedy: `Close it to them: chmod 600 ${path}`,
    })
  }
  const sealed = parseSealedKey(text, path)
  const signer = memorySigner(await unsealKey(sealed, passphrase, path), sealed.public['x-trustcast-name'])
  if (signer.keyId !== keyIdOf(sealed.public)) throw damaged(path, 'its two halves are of different keys')
  return signer
}

/** A key file has about 700 bytes. */
const maximumBytes = 8192

async function readBounded(path: string): Promise<{ text: string; mode: number }> {
  await using file = await openExisting(path)
  const { size, mode } = await file.stat()
  if (size > maximumBytes) throw damaged(path, `expected at most ${maximumBytes} bytes, got ${size}`)
  return { text: await file.readFile('utf8'), mode }
}

async function openExisting(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
    throw new KeyFileError('KEY_FILE_MISSING', `there is no ${path}`, {
      cause,
      remedy: 'Make a key: trustcast key create FILE',
    })
  }
}

async function writeNew(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  try {
    await using file = await open(path, 'wx', mode)
    await file.writeFile(content)
    await file.sync()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code !== 'EEXIST') {
      throw new KeyFileError('KEY_FILE_UNWRITABLE', `${path} cannot be written: ${message}`, {
        cause,
        remedy: 'Name a file in a folder that is there and that this account may write to.',
      })
    }
    throw new KeyFileError('KEY_FILE_EXISTS', `there is a file ${path} already`, {
      cause,
      remedy: 'Name another file. A key is never replaced.',
    })
  }
  await using directory = await open(dirname(path))
  await directory.sync()
}
