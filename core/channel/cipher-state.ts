import { NoiseError } from './errors.ts'
import { aesGcmDecrypt, aesGcmEncrypt, type CryptoKey, importAesKey, keyBytes } from './primitives.ts'

const rekeyNonce = 2n ** 64n - 1n
const empty = new Uint8Array(0)

/**
 * A key and the counter of its messages. Source: Noise revision 34, section 5.1; nonces of section 12.4.
 *
 * Every call takes its nonce (and its key) at once and in order, so calls may overlap: the nth call is the nth message.
 */
export class CipherState {
  #key: Promise<CryptoKey>
  #nonce = 0

  constructor(key: Uint8Array) {
    this.#key = importAesKey(key)
    ignoreUntilUsed(this.#key)
  }

  /** How many messages were begun. */
  get count(): number {
    return this.#nonce
  }

  /** The ciphertext with its tag of 16 bytes. */
  async encrypt(additionalData: Uint8Array, plaintext: Uint8Array): Promise<Uint8Array> {
    const [key, nonce] = [this.#key, this.#takeNonce()]
    return aesGcmEncrypt(await key, nonce, additionalData, plaintext)
  }

  /** @throws {NoiseError} NOISE_DECRYPT */
  async decrypt(additionalData: Uint8Array, ciphertext: Uint8Array): Promise<Uint8Array> {
    const [key, nonce] = [this.#key, this.#takeNonce()]
    const opened = await key
    try {
      return await aesGcmDecrypt(opened, nonce, additionalData, ciphertext)
    } catch (cause) {
      throw new NoiseError('NOISE_DECRYPT', 'expected an authentic message', { cause })
    }
  }

  /** Replaces the key by one made from it, for the messages begun after this. Source: section 4.2, REKEY. */
  rekey(): void {
    this.#key = renewed(this.#key)
    ignoreUntilUsed(this.#key)
  }

  #takeNonce(): Uint8Array {
    if (this.#nonce === Number.MAX_SAFE_INTEGER) {
      throw new NoiseError('NOISE_STATE', 'expected a counter that is not used up')
    }
    return nonceBytes(BigInt(this.#nonce++))
  }
}

/** Four zero bytes, then the counter big-endian. */
function nonceBytes(counter: bigint): Uint8Array {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setBigUint64(4, counter)
  return nonce
}

async function renewed(key: Promise<CryptoKey>): Promise<CryptoKey> {
  const sealed = await aesGcmEncrypt(await key, nonceBytes(rekeyNonce), empty, new Uint8Array(keyBytes))
  return importAesKey(sealed.subarray(0, keyBytes))
}

/** A key that cannot be made fails the messages that need it, not the process. */
function ignoreUntilUsed(key: Promise<CryptoKey>): void {
  key.catch(() => undefined)
}
