import {
  argon2,
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  hash,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { promisify } from 'node:util'
import { z } from 'zod'
import { type TufKey, tufKey } from '#core/release/index.ts'
import { KeyFileError } from './errors.ts'

/**
 * A private key in a file, as JSON:
 *
 *     format      'trustcast release key 1'
 *     public      the public key as TUF writes it, with its name
 *     kdf         Argon2id (RFC 9106) with its cost and salt: passphrase → 32 bytes
 *     cipher      AES-256-GCM with its nonce; format, public, kdf and cipher are its additional data
 *     ciphertext  the Ed25519 seed, 32 bytes, and the tag, 16 bytes
 *     checksum    SHA-256 of all the above: tells a damaged file from a wrong passphrase, and protects nothing
 *
 * Byte strings are base64. Costs are bounded, so that a file that somebody else made cannot take a machine down.
 */
const format = 'trustcast release key 1'

/** 64 MiB and 3 passes: the second choice of RFC 9106, section 4, which fits machines of any size. */
const cost = { memoryKib: 65_536, passes: 3, parallelism: 4 }

const base64 = (bytes: number) =>
  z.base64().refine((text) => {
    const decoded = Buffer.from(text, 'base64')
    return decoded.length === bytes && decoded.toString('base64') === text
  }, `expected ${bytes} bytes`)

const sealedKey = z.strictObject({
  format: z.literal(format),
  public: tufKey,
  kdf: z.strictObject({
    name: z.literal('argon2id'),
    memoryKib: z.int().min(19_456).max(1_048_576),
    passes: z.int().min(1).max(20),
    parallelism: z.int().min(1).max(8),
    salt: base64(16),
  }),
  cipher: z.strictObject({ name: z.literal('aes-256-gcm'), nonce: base64(12) }),
  ciphertext: base64(48),
  checksum: z.string().regex(/^[0-9a-f]{64}$/),
})
export type SealedKey = z.infer<typeof sealedKey>

/** Seals an Ed25519 key under a passphrase. */
export async function sealKey(privateKey: KeyObject, publicKey: TufKey, passphrase: string): Promise<string> {
  const kdf = { name: 'argon2id' as const, ...cost, salt: randomBytes(16).toString('base64') }
  const cipher = { name: 'aes-256-gcm' as const, nonce: randomBytes(12).toString('base64') }
  const header = { format, public: publicKey, kdf, cipher } as const
  const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url')
  const gcm = createCipheriv(
    'aes-256-gcm',
    await derive(passphrase, kdf),
    Buffer.from(cipher.nonce, 'base64'),
  )
  gcm.setAAD(additionalData(header))
  const ciphertext = Buffer.concat([gcm.update(seed), gcm.final(), gcm.getAuthTag()]).toString('base64')
  const sealed = { ...header, ciphertext }
  return `${JSON.stringify({ ...sealed, checksum: checksumOf(sealed) }, undefined, 2)}\n`
}

/**
 * @param text untrusted
 * @throws {KeyFileError} KEY_FILE_DAMAGED
 */
export function parseSealedKey(text: string, path: string): SealedKey {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw damaged(path, 'expected JSON', cause)
  }
  const parsed = sealedKey.safeParse(value)
  if (!parsed.success) throw damaged(path, z.prettifyError(parsed.error), parsed.error)
  if (checksumOf(parsed.data) !== parsed.data.checksum) throw damaged(path, 'its checksum does not fit')
  return parsed.data
}

/** @throws {KeyFileError} KEY_FILE_WRONG_PASSPHRASE */
export async function unsealKey(sealed: SealedKey, passphrase: string, path: string): Promise<KeyObject> {
  const key = await derive(passphrase, sealed.kdf)
  const bytes = Buffer.from(sealed.ciphertext, 'base64')
  const gcm = createDecipheriv('aes-256-gcm', key, Buffer.from(sealed.cipher.nonce, 'base64'))
  gcm.setAAD(additionalData(sealed)).setAuthTag(bytes.subarray(32))
  try {
    const seed = Buffer.concat([gcm.update(bytes.subarray(0, 32)), gcm.final()])
    return createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw new KeyFileError('KEY_FILE_WRONG_PASSPHRASE', `the passphrase does not open ${path}`, { cause })
  }
}

export function damaged(path: string, problem: string, cause?: unknown): KeyFileError {
  return new KeyFileError('KEY_FILE_DAMAGED', `${path} is no whole key file: ${problem}`, {
    cause,
    remedy:
      'Name the right file, take it from a backup, or make a new key and have it named instead of this one.',
  })
}

/** RFC 8410: PKCS #8 of an Ed25519 key, up to its 32 bytes. */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')

const argon2Async = promisify(argon2)

function derive(passphrase: string, kdf: SealedKey['kdf']): Promise<Uint8Array> {
  const { memoryKib, passes, parallelism, salt } = kdf
  return argon2Async('argon2id', {
    // RFC 8265, section 4.2.2: the same passphrase, whichever keyboard it was typed on.
    message: passphrase.normalize('NFC'),
    nonce: Buffer.from(salt, 'base64'),
    memory: memoryKib,
    passes,
    parallelism,
    tagLength: 32,
  })
}

type Header = Pick<SealedKey, 'format' | 'public' | 'kdf' | 'cipher'>

/** In an order of its own, whatever the file's is. */
function additionalData({ format, public: key, kdf, cipher }: Header): Buffer {
  const { keytype, scheme, keyval, 'x-trustcast-name': name = null } = key
  const { memoryKib, passes, parallelism, salt } = kdf
  return Buffer.from(
    JSON.stringify([
      format,
      [keytype, scheme, keyval.public, name],
      [kdf.name, memoryKib, passes, parallelism, salt],
      [cipher.name, cipher.nonce],
    ]),
  )
}

function checksumOf(sealed: Omit<SealedKey, 'checksum'>): string {
  return hash('sha256', Buffer.concat([additionalData(sealed), Buffer.from(sealed.ciphertext)]))
}
