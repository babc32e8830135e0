import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { CodedError } from '#core/errors/coded-error.ts'

/**
 * A private key at rest, encrypted for one machine: `tcs1.` and, base64url, salt 16 | nonce 12 | ciphertext | tag 16. AES-256-GCM under
 * HKDF-SHA256(host secret, salt, "trustcast sealed key" | purpose | machine id); the purpose is the additional data, too.
 *
 * It stops who has the files alone: a copied folder, a backup, a disk image without the host's secret. It does not stop who is
 * the machine's administrator, or has its whole disk.
 */

export type SealedKeyErrorCode = 'SEALED_KEY_MALFORMED' | 'SEALED_KEY_ELSEWHERE'
export class SealedKeyError extends CodedError<SealedKeyErrorCode> {}

/** What makes a machine this one. */
export interface HostSeal {
  /** 32 random bytes, kept outside of what is copied with the key. */
  readonly secret: Uint8Array
  /** machine-id(5); empty where there is none. */
  readonly machineId: string
}

const prefix = 'tcs1.'
const [saltBytes, nonceBytes, tagBytes] = [16, 12, 16]
const maxChars = 10_000

export function isSealed(text: string): boolean {
  return text.startsWith(prefix)
}

/**
 * @param purpose what the key is for: a sealed key opens for nothing else
 * @param random 28 fresh bytes
 */
export function sealKey(key: string, seal: HostSeal, purpose: string, random: Uint8Array): string {
  const salt = random.subarray(0, saltBytes)
  const nonce = random.subarray(saltBytes, saltBytes + nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', derive(seal, salt, purpose), nonce)
  cipher.setAAD(Buffer.from(purpose))
  const sealed = Buffer.concat([salt, nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()])
  return prefix + sealed.toString('base64url')
}

/**
 * @param text untrusted
 * @throws {SealedKeyError} SEALED_KEY_MALFORMED, SEALED_KEY_ELSEWHERE
 */
export function openKey(text: string, seal: HostSeal, purpose: string): string {
  const bytes = Buffer.from(text.slice(prefix.length), 'base64url')
  if (!isSealed(text) || text.length > maxChars || bytes.length < saltBytes + nonceBytes + tagBytes)
    throw new SealedKeyError('SEALED_KEY_MALFORMED', 'expected a sealed key of the form tcs1.BYTES')
  const nonceEnd = saltBytes + nonceBytes
  const key = derive(seal, bytes.subarray(0, saltBytes), purpose)
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(saltBytes, nonceEnd))
  decipher.setAAD(Buffer.from(purpose))
  decipher.setAuthTag(bytes.subarray(-tagBytes))
  try {
    const plain = Buffer.concat([decipher.update(bytes.subarray(nonceEnd, -tagBytes)), decipher.final()])
    return plain.toString()
  } catch (cause) {
    throw new SealedKeyError(
      'SEALED_KEY_ELSEWHERE',
      'this key was sealed on another machine, or was changed',
      {
        remedy: 'An identity cannot be copied: enrol this machine itself.',
        cause,
      },
    )
  }
}

function derive({ secret, machineId }: HostSeal, salt: Uint8Array, purpose: string): Buffer {
  const info = `trustcast sealed key\0${purpose}\0${machineId}`
  return Buffer.from(hkdfSync('sha256', secret, salt, info, 32))
}
