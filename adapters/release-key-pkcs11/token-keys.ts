import { createPublicKey, hash } from 'node:crypto'
import { keyIdOf, type ReleaseSigner, type TufKey, tufKeyOf } from '#core/release/index.ts'
import { TokenError } from './errors.ts'
import { runTool, type TokenPlace } from './pkcs11-tool.ts'

export type { TokenPlace } from './pkcs11-tool.ts'

/** A key on a token that can sign releases. */
export interface TokenKey {
  /** Its CKA_ID, hexadecimal: on PIV tokens `02` is the slot for signatures, 9C. */
  readonly id: string
  /** What the token calls it. May be empty. */
  readonly label: string
  readonly publicKey: TufKey
}

/**
 * The keys of a token that can sign releases: ECDSA P-256. Others are left out, Ed25519 among them, because
 * `pkcs11-tool` hands tokens at most 1,024 bytes to sign in one piece, which Ed25519 needs and metadata exceeds.
 *
 * @throws {TokenError}
 */
export async function listTokenKeys(place: TokenPlace, signal?: AbortSignal): Promise<readonly TokenKey[]> {
  const listed = await runTool({ ...place, args: ['--list-objects', '--type=pubkey'] }, signal)
  const keys: TokenKey[] = []
  for (const { id, label } of parseObjects(listed.toString())) {
    const publicKey = await readPublicKey(place, id, label, signal)
    if (publicKey !== undefined) keys.push({ id, label, publicKey })
  }
  return keys
}

/**
 * Opens a key of a token to sign with it. The token is asked for each signature.
 *
 * @param options.id CKA_ID, hexadecimal; not needed when the token has one key that can sign releases
 * @throws {TokenError}
 */
export async function openTokenKey(
  options: TokenPlace & { readonly id?: string | undefined; readonly pin: string },
  signal?: AbortSignal,
): Promise<ReleaseSigner> {
  const { id, pin, ...place } = options
  const keys = await listTokenKeys(place, signal)
  const fitting = id === undefined ? keys : keys.filter((key) => key.id === id.toLowerCase())
  const [key, another] = fitting
  if (key === undefined || another !== undefined) throw notOne(keys, id)
  return {
    keyId: keyIdOf(key.publicKey),
    publicKey: key.publicKey,
    async sign(bytes) {
      // The mechanism that every PIV token has signs a digest that was made outside.
      const digest = hash('sha256', bytes, 'buffer')
      const args = ['--sign', '--mechanism=ECDSA', `--id=${key.id}`, '--signature-format=rs']
      return derOfSignature(await runTool({ ...place, args, input: digest, pin }, signal))
    },
  }
}

/**
 * Turns an ECDSA signature as PKCS #11 gives it into the one that TUF and X.509 use: SEQUENCE { r INTEGER, s INTEGER }
 * (RFC 3279, section 2.2.3).
 *
 * @param raw r ‖ s, 32 bytes each
 * @throws {TokenError} TOKEN_FAILED
 */
export function derOfSignature(raw: Uint8Array): Uint8Array {
  if (raw.length !== 64) {
    throw new TokenError('TOKEN_FAILED', `expected a signature of 64 bytes, got ${raw.length}`)
  }
  const integers = Buffer.concat([derInteger(raw.subarray(0, 32)), derInteger(raw.subarray(32))])
  return Buffer.concat([Buffer.from([0x30, integers.length]), integers])
}

/** Shortest form, and a zero before what would otherwise be negative. */
function derInteger(bytes: Uint8Array): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0)
  const digits = bytes.subarray(first < 0 ? bytes.length - 1 : first)
  const padded = (digits[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits
  return Buffer.concat([Buffer.of(0x02, padded.length), padded])
}

/** Tokens hold a few keys; a module that lists more than this is not one. */
const maximumObjects = 100

function parseObjects(listing: string): readonly { id: string; label: string }[] {
  return listing
    .split(/^(?=Public Key Object)/m)
    .slice(0, maximumObjects)
    .flatMap((object) => {
      const id = /^ {2}ID: +([0-9a-f]{2,64})$/m.exec(object)?.[1]
      const label = /^ {2}label: +(.*)$/m.exec(object)?.[1] ?? ''
      return id === undefined ? [] : [{ id, label }]
    })
}

async function readPublicKey(
  place: TokenPlace,
  id: string,
  label: string,
  signal: AbortSignal | undefined,
): Promise<TufKey | undefined> {
  const bytes = await runTool({ ...place, args: ['--read-object', '--type=pubkey', `--id=${id}`] }, signal)
  const isPem = bytes.subarray(0, 5).toString() === '-----'
  try {
    const key = createPublicKey(isPem ? bytes.toString() : { key: bytes, format: 'der', type: 'spki' })
    const name = label
      .slice(0, 100)
      .replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '')
      .replace(/ +/g, ' ')
      .trim()
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
      ? tufKeyOf(key, name === '' ? undefined : name)
      : undefined
  } catch {
    // A kind of key that not even OpenSSL knows: nothing for releases.
    return undefined
  }
}

function notOne(keys: readonly TokenKey[], id: string | undefined): TokenError {
  const list = keys.map((key) => `${key.id} (${key.label})`).join(', ')
  if (keys.length === 0) {
    return new TokenError('TOKEN_KEY_UNSUPPORTED', 'no key on the token can sign releases', {
      remedy: 'Make an ECDSA P-256 key on it, on PIV tokens in slot 9c.',
    })
  }
  const problem = id === undefined ? 'the token has several keys' : `the token has no key ${id}`
  return new TokenError('TOKEN_KEY_MISSING', problem, { remedy: `Name one by its id: ${list}.` })
}
