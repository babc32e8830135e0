import { concatBytes, encodeUtf8 } from '#core/bytes/index.ts'
import { CipherState } from './cipher-state.ts'
import { hkdfSha256, hmacSha256, keyBytes, sha256 } from './primitives.ts'

const empty = new Uint8Array(0)

/** The chaining key and transcript hash of a handshake. Source: Noise revision 34, section 5.2. */
export class SymmetricState {
  #chainingKey: Uint8Array
  #hash: Uint8Array
  #cipher: CipherState | undefined

  private constructor(hash: Uint8Array) {
    this.#hash = hash
    this.#chainingKey = hash
  }

  static async start(protocolName: string): Promise<SymmetricState> {
    const name = encodeUtf8(protocolName)
    if (name.length > keyBytes) return new SymmetricState(await sha256(name))
    const padded = new Uint8Array(keyBytes)
    padded.set(name)
    return new SymmetricState(padded)
  }

  /** Differs when anything at all differed between the two sides. */
  get handshakeHash(): Uint8Array {
    return this.#hash
  }

  async mixKey(input: Uint8Array): Promise<void> {
    const [chainingKey, key] = await this.#derive(input)
    this.#chainingKey = chainingKey
    this.#cipher = new CipherState(key)
  }

  async mixHash(bytes: Uint8Array): Promise<void> {
    this.#hash = await sha256(concatBytes(this.#hash, bytes))
  }

  async mixKeyAndHash(input: Uint8Array): Promise<void> {
    const [chainingKey, hashInput, key] = await this.#derive(input)
    this.#chainingKey = chainingKey
    await this.mixHash(hashInput)
    this.#cipher = new CipherState(key)
  }

  /** The bytes an encryption of so many takes here. */
  sealedLength(length: number): number {
    return this.#cipher === undefined ? length : length + 16
  }

  async encryptAndHash(plaintext: Uint8Array): Promise<Uint8Array> {
    const ciphertext = await (this.#cipher?.encrypt(this.#hash, plaintext) ?? plaintext)
    await this.mixHash(ciphertext)
    return ciphertext
  }

  /** @throws {NoiseError} NOISE_DECRYPT */
  async decryptAndHash(ciphertext: Uint8Array): Promise<Uint8Array> {
    const plaintext = await (this.#cipher?.decrypt(this.#hash, ciphertext) ?? ciphertext)
    await this.mixHash(ciphertext)
    return plaintext
  }

  /** The ciphers of the initiator's and of the responder's messages. */
  async split(): Promise<readonly [CipherState, CipherState]> {
    const [initiator, responder] = await this.#derive(empty)
    return [new CipherState(initiator), new CipherState(responder)]
  }

  /** A secret of both ends beside their ciphers, from which those cannot be computed. */
  async exportSecret(label: string, length: number): Promise<Uint8Array> {
    return hkdfSha256(this.#chainingKey, this.#hash, encodeUtf8(label), length)
  }

  /** HKDF as Noise has it (section 4.3). Of HMACs, because Web Crypto's HKDF need not take the empty input of `split`. */
  async #derive(input: Uint8Array): Promise<readonly [Uint8Array, Uint8Array, Uint8Array]> {
    const temporary = await hmacSha256(this.#chainingKey, input)
    const first = await hmacSha256(temporary, Uint8Array.of(1))
    const second = await hmacSha256(temporary, concatBytes(first, Uint8Array.of(2)))
    const third = await hmacSha256(temporary, concatBytes(second, Uint8Array.of(3)))
    return [first, second, third]
  }
}
