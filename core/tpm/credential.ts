import {
  constants,
  createCipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import { digestBytes, type HashName, hashOf, TPM_ALG } from './algorithms.ts'
import type { PublicArea } from './public-area.ts'
import { TpmError } from './tpm-error.ts'
import { tpm2b } from './tpm2b.ts'

/** A secret that only one TPM can open, and only while it holds one key. */
export interface Credential {
  /** TPM2B_ID_OBJECT. */
  readonly idObject: Buffer
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSecret: Buffer
}

/**
 * Encrypts a secret so that the TPM of an endorsement key gives it out only if a key of this name is loaded in the same TPM: what
 * TPM2_ActivateCredential undoes.
 *
 * Spec: TPM 2.0 Library part 1, section 24 and annexes B.10.4 (RSA), C.6.4 (ECC)
 *
 * @param ek public area of the endorsement key, RSA or ECC P-256/P-384 with AES in CFB mode
 * @param name of the key that is to be in the same TPM
 * @param secret at most the size of the endorsement key's name hash
 * @throws {TpmError} TPM_UNSUPPORTED
 */
export function makeCredential(ek: PublicArea, name: Uint8Array, secret: Uint8Array): Credential {
  const hash = hashOf(ek.nameAlg)
  const hashBytes = digestBytes(ek.nameAlg)
  const { algorithm, keyBits, mode } = ek.symmetric
  if (algorithm !== TPM_ALG.AES || mode !== TPM_ALG.CFB || (keyBits !== 128 && keyBits !== 256))
    throw new TpmError('TPM_UNSUPPORTED', 'expected an endorsement key with AES-128 or AES-256 in CFB mode')
  if (secret.length > hashBytes)
    throw new TpmError('TPM_UNSUPPORTED', `expected a secret of at most ${hashBytes} bytes`)
  const shared = ek.type === 'rsa' ? encryptSeed(ek.key, hash, hashBytes) : agreeOnSeed(ek.key, hash)
  const key = kdfa(hash, shared.seed, 'STORAGE', name, keyBits)
  const cipher = createCipheriv(keyBits === 128 ? 'aes-128-cfb' : 'aes-256-cfb', key, Buffer.alloc(16))
  const encIdentity = Buffer.concat([cipher.update(tpm2b(secret)), cipher.final()])
  const hmacKey = kdfa(hash, shared.seed, 'INTEGRITY', new Uint8Array(), hashBytes * 8)
  const outer = createHmac(hash, hmacKey).update(encIdentity).update(name).digest()
  return { idObject: tpm2b(tpm2b(outer), encIdentity), encryptedSecret: tpm2b(shared.encrypted) }
}

interface SharedSeed {
  readonly seed: Uint8Array
  readonly encrypted: Buffer
}

/** The label's zero byte is part of it: part 1, B.4. */
function encryptSeed(key: KeyObject, hash: HashName, hashBytes: number): SharedSeed {
  const seed = randomBytes(hashBytes)
  const oaep = {
    key,
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: hash,
    oaepLabel: Buffer.from('IDENTITY\0'),
  }
  return { seed, encrypted: publicEncrypt(oaep, seed) }
}

function agreeOnSeed(key: KeyObject, hash: HashName): SharedSeed {
  const namedCurve = key.asymmetricKeyDetails?.namedCurve ?? 'prime256v1'
  const ephemeral = generateKeyPairSync('ec', { namedCurve })
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: key })
  const own = pointOf(createPublicKey(ephemeral.privateKey))
  const seed = kdfe(hash, z, own.x, pointOf(key).x)
  return { seed, encrypted: Buffer.concat([tpm2b(own.x), tpm2b(own.y)]) }
}

/** Coordinates at their full length, as `z` has it: part 1, C.8. */
function pointOf(key: KeyObject): { readonly x: Buffer; readonly y: Buffer } {
  const { x = '', y = '' } = key.export({ format: 'jwk' })
  return { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') }
}

/** Spec: part 1, section 11.4.10.2 (SP 800-108, counter mode): HMAC(key, counter | label | 0 | context | bits) */
function kdfa(hash: HashName, key: Uint8Array, label: string, context: Uint8Array, bits: number): Buffer {
  const blocks: Buffer[] = []
  let length = 0
  for (let counter = 1; length * 8 < bits; counter++) {
    const block = createHmac(hash, key)
      .update(u32(counter))
      .update(`${label}\0`)
      .update(context)
      .update(u32(bits))
      .digest()
    blocks.push(block)
    length += block.length
  }
  return Buffer.concat(blocks).subarray(0, bits / 8)
}

/** Spec: part 1, section 11.4.10.3 (SP 800-56A): H(counter | Z | label | 0 | party U | party V); one block suffices here. */
function kdfe(hash: HashName, z: Buffer, partyU: Buffer, partyV: Buffer): Buffer {
  return createHash(hash).update(u32(1)).update(z).update('IDENTITY\0').update(partyU).update(partyV).digest()
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
