import { encodeUtf8 } from '#core/bytes/index.ts'
import { type CryptoKeyPair, seal, unseal } from '#core/channel/index.ts'
import { LeaseError } from './lease-error.ts'

/** Bytes of an image key. */
const keyBytes = 32

/** Which lease a sealed key belongs to: another lease, or another endpoint, cannot use it. */
export interface SealedFor {
  readonly leaseId: string
  readonly endpointId: string
}

/**
 * Seals an image key to an endpoint's key (`core/channel` seal); the prologue is the lease's id followed by the endpoint's.
 *
 * @param sealKey X25519 public key of the endpoint, 32 bytes
 */
export async function sealImageKey(
  sealKey: Uint8Array,
  key: Uint8Array,
  sealedFor: SealedFor,
): Promise<Uint8Array> {
  return seal(sealKey, key, prologueOf(sealedFor))
}

/** @throws {LeaseError} LEASE_KEY_UNREADABLE when it was sealed to another key, lease or endpoint, or is damaged */
export async function unsealImageKey(
  keyPair: CryptoKeyPair,
  sealed: Uint8Array,
  sealedFor: SealedFor,
): Promise<Uint8Array> {
  let key: Uint8Array
  try {
    key = await unseal(keyPair, sealed, prologueOf(sealedFor))
  } catch (cause) {
    throw new LeaseError('LEASE_KEY_UNREADABLE', 'the key was not sealed to this endpoint under this lease', {
      remedy: 'Launch again.',
      cause,
    })
  }
  if (key.length === keyBytes) return key
  throw new LeaseError('LEASE_KEY_UNREADABLE', `expected a key of ${keyBytes} bytes, got ${key.length}`)
}

function prologueOf({ leaseId, endpointId }: SealedFor): Uint8Array {
  return encodeUtf8(`${leaseId}${endpointId}`)
}
