import { concatBytes } from '#core/bytes/index.ts'
import type { CipherState } from './cipher-state.ts'
import { NoiseError } from './errors.ts'
import { type Pattern, type PatternName, patternOf, type Token } from './noise-patterns.ts'
import { keyBytes } from './primitives.ts'
import { SymmetricState } from './symmetric-state.ts'
import { type CryptoKeyPair, diffieHellman, exportPublic, generateX25519 } from './x25519.ts'

/** Longest Noise message, handshake or transport. Source: Noise revision 34, section 3. */
export const maximumMessageBytes = 65535

export interface HandshakeOptions {
  readonly pattern: PatternName
  readonly role: 'initiator' | 'responder'
  /** What both sides must agree on before the first message. */
  readonly prologue: Uint8Array
  readonly staticKey?: CryptoKeyPair
  /** The other side's static key, 32 bytes, where the pattern knows it before. */
  readonly remoteStatic?: Uint8Array
  /** 32 bytes, for patterns with a `psk` modifier. */
  readonly psk?: Uint8Array
  /** For test vectors alone: without it every handshake makes a fresh one. */
  readonly ephemeral?: CryptoKeyPair
}

/** What a finished handshake leaves. */
export interface HandshakeResult {
  readonly send: CipherState
  readonly receive: CipherState
  readonly handshakeHash: Uint8Array
  /** The other side's static key, when the pattern has one. */
  readonly remoteStatic: Uint8Array | undefined
  /** A secret that both ends share beside their ciphers; another one for each label. */
  exportSecret(label: string, length: number): Promise<Uint8Array>
}

/**
 * One side of `Noise_…_25519_AESGCM_SHA256`. Source: Noise revision 34, section 5.3.
 *
 * The sides write and read in turns until `complete`. Any failure ends the handshake for good.
 */
export class HandshakeState {
  readonly #options: HandshakeOptions
  readonly #pattern: Pattern
  readonly #symmetric: SymmetricState
  #ephemeral: CryptoKeyPair | undefined
  #remoteStatic: Uint8Array | undefined
  #remoteEphemeral: Uint8Array | undefined
  #step = 0
  #busy = false

  private constructor(options: HandshakeOptions, pattern: Pattern, symmetric: SymmetricState) {
    this.#options = options
    this.#pattern = pattern
    this.#symmetric = symmetric
    this.#remoteStatic = options.remoteStatic
  }

  /** @throws {NoiseError} NOISE_KEYS when the pattern knows a static key that was not given */
  static async start(options: HandshakeOptions): Promise<HandshakeState> {
    const pattern = patternOf(options.pattern)
    const symmetric = await SymmetricState.start(`Noise_${options.pattern}_25519_AESGCM_SHA256`)
    const handshake = new HandshakeState(options, pattern, symmetric)
    await symmetric.mixHash(options.prologue)
    for (const owner of pattern.known) await symmetric.mixHash(await handshake.#knownKey(owner))
    return handshake
  }

  get complete(): boolean {
    return this.#step === this.#pattern.messages.length && !this.#busy
  }

  /** @throws {NoiseError} NOISE_STATE, NOISE_TOO_LONG, NOISE_WEAK_KEY, NOISE_KEYS */
  async writeMessage(payload: Uint8Array): Promise<Uint8Array> {
    const tokens = this.#begin('write')
    const parts: Uint8Array[] = []
    for (const token of tokens) parts.push(await this.#write(token))
    parts.push(await this.#symmetric.encryptAndHash(payload))
    const message = concatBytes(...parts)
    requireLength(message)
    this.#busy = false
    return message
  }

  /** Returns the payload. @throws {NoiseError} every code of Noise */
  async readMessage(message: Uint8Array): Promise<Uint8Array> {
    requireLength(message)
    const tokens = this.#begin('read')
    let rest = message
    const take = (length: number): Uint8Array => {
      if (rest.length < length)
        throw new NoiseError('NOISE_SHORT', `expected ${length} bytes, got ${rest.length}`)
      const part = rest.slice(0, length)
      rest = rest.subarray(length)
      return part
    }
    for (const token of tokens) await this.#read(token, take)
    const payload = await this.#symmetric.decryptAndHash(take(rest.length))
    this.#busy = false
    return payload
  }

  /** @throws {NoiseError} NOISE_STATE before the last message */
  async finish(): Promise<HandshakeResult> {
    if (!this.complete) throw new NoiseError('NOISE_STATE', 'expected a complete handshake')
    const symmetric = this.#symmetric
    const [initiator, responder] = await symmetric.split()
    const first = this.#options.role === 'initiator'
    return {
      send: first ? initiator : responder,
      receive: first ? responder : initiator,
      handshakeHash: symmetric.handshakeHash,
      remoteStatic: this.#remoteStatic,
      exportSecret: (label, length) => symmetric.exportSecret(label, length),
    }
  }

  /** Takes the next step; `#busy` stays when anything fails, so nothing can follow a failure. */
  #begin(action: 'write' | 'read'): readonly Token[] {
    const tokens = this.#pattern.messages[this.#step]
    const writes = (this.#step % 2 === 0) === (this.#options.role === 'initiator')
    if (this.#busy || tokens === undefined || writes !== (action === 'write')) {
      throw new NoiseError(
        'NOISE_STATE',
        `expected no ${action} at message ${this.#step + 1} of ${this.#options.pattern}`,
      )
    }
    this.#busy = true
    this.#step += 1
    return tokens
  }

  async #write(token: Token): Promise<Uint8Array> {
    switch (token) {
      case 'e': {
        this.#ephemeral = this.#options.ephemeral ?? (await generateX25519())
        const key = await exportPublic(this.#ephemeral.publicKey)
        await this.#mixEphemeral(key)
        return key
      }
      case 's':
        return this.#symmetric.encryptAndHash(await exportPublic(this.#staticKey().publicKey))
      default:
        await this.#mixSecret(token)
        return new Uint8Array(0)
    }
  }

  async #read(token: Token, take: (length: number) => Uint8Array): Promise<void> {
    switch (token) {
      case 'e':
        this.#remoteEphemeral = take(keyBytes)
        return this.#mixEphemeral(this.#remoteEphemeral)
      case 's':
        this.#remoteStatic = await this.#symmetric.decryptAndHash(
          take(this.#symmetric.sealedLength(keyBytes)),
        )
        return
      default:
        return this.#mixSecret(token)
    }
  }

  async #mixEphemeral(key: Uint8Array): Promise<void> {
    await this.#symmetric.mixHash(key)
    // With a pre-shared key the ephemeral also keys the cipher, so that no nonce meets the same key twice (section 9.2).
    if (this.#options.pattern.includes('psk')) await this.#symmetric.mixKey(key)
  }

  async #mixSecret(token: Exclude<Token, 'e' | 's'>): Promise<void> {
    if (token === 'psk') return this.#symmetric.mixKeyAndHash(this.#psk())
    const [initiators, responders] = token
    const [ours, theirs] =
      this.#options.role === 'initiator' ? [initiators, responders] : [responders, initiators]
    const own = ours === 'e' ? required(this.#ephemeral, 'an ephemeral key') : this.#staticKey()
    const remote = required(theirs === 'e' ? this.#remoteEphemeral : this.#remoteStatic, 'a remote key')
    return this.#symmetric.mixKey(await diffieHellman(own.privateKey, remote))
  }

  async #knownKey(owner: 'initiator' | 'responder'): Promise<Uint8Array> {
    if (owner !== this.#options.role) return required(this.#remoteStatic, 'the static key of the other side')
    return exportPublic(this.#staticKey().publicKey)
  }

  #staticKey(): CryptoKeyPair {
    return required(this.#options.staticKey, 'a static key')
  }

  #psk(): Uint8Array {
    const psk = required(this.#options.psk, 'a pre-shared key')
    if (psk.length !== keyBytes) {
      throw new NoiseError('NOISE_KEYS', `expected a pre-shared key of ${keyBytes} bytes, got ${psk.length}`)
    }
    return psk
  }
}

function required<Value>(value: Value | undefined, what: string): Value {
  if (value === undefined) throw new NoiseError('NOISE_KEYS', `expected ${what} for this pattern`)
  return value
}

function requireLength(message: Uint8Array): void {
  if (message.length > maximumMessageBytes) {
    throw new NoiseError(
      'NOISE_TOO_LONG',
      `expected at most ${maximumMessageBytes} bytes, got ${message.length}`,
    )
  }
}
