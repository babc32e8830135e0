import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'

/** The keys of one overlay. The runtime alone holds those that are secret, and frees them with the overlay. */
export interface OverlayKeys {
  readonly data: KeyObject
  readonly mac: KeyObject
  /** Tells a wrong key from damage; stands in the journal. */
  readonly check: Uint8Array
}

/**
 * Source: RFC 5869, with the overlay's id as salt
 *
 * @param key 32 bytes
 */
export function deriveKeys(key: Uint8Array, overlayId: Uint8Array): OverlayKeys {
  const derive = (use: string, length: number): Uint8Array =>
    new Uint8Array(hkdfSync('sha256', key, overlayId, `trustcast overlay ${use}`, length))
  return {
    data: takeSecret(derive('data', 32)),
    mac: takeSecret(derive('journal', 32)),
    check: derive('key check', 16),
  }
}

/** @param bytes overwritten: who reads this process's memory later does not find them here */
export function takeSecret(bytes: Uint8Array): KeyObject {
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}
