import { HandshakeState } from './noise.ts'
import type { CryptoKeyPair } from './x25519.ts'

/**
 * Encrypts to the holder of a key, for anybody to carry: one message of Noise pattern N. It does not say who wrote it.
 *
 * @param recipientPublicKey X25519, 32 bytes
 * @param plaintext at most 65487 bytes
 * @param prologue must be the same when it is unsealed: what the message is for
 * @throws {NoiseError} NOISE_TOO_LONG, NOISE_WEAK_KEY, NOISE_KEYS
 */
export async function seal(
  recipientPublicKey: Uint8Array,
  plaintext: Uint8Array,
  prologue: Uint8Array,
): Promise<Uint8Array> {
  const handshake = await HandshakeState.start({
    pattern: 'N',
    role: 'initiator',
    prologue,
    remoteStatic: recipientPublicKey,
  })
  return handshake.writeMessage(plaintext)
}

/** @throws {NoiseError} NOISE_DECRYPT, NOISE_SHORT, NOISE_TOO_LONG, NOISE_WEAK_KEY */
export async function unseal(
  keyPair: CryptoKeyPair,
  message: Uint8Array,
  prologue: Uint8Array,
): Promise<Uint8Array> {
  const handshake = await HandshakeState.start({
    pattern: 'N',
    role: 'responder',
    prologue,
    staticKey: keyPair,
  })
  return handshake.readMessage(message)
}
