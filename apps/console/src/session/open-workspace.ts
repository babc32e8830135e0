import type { HostedDelivery } from '#core/api/person.ts'
import { encodeBase64url } from '#core/bytes/index.ts'
import { type CryptoKeyPair, exportPublic, generateX25519 } from '#core/channel/index.ts'
import { api } from '../api/api.ts'
import { ApiError } from '../api/errors.ts'

/** A delivery with the key that its ticket is bound to. The private half stays in this page. */
export interface OpenedDelivery {
  readonly delivery: HostedDelivery
  readonly keyPair: CryptoKeyPair
}

/** Deliveries on their way from the tile that launched them to the session page. */
const pending = new Map<string, OpenedDelivery>()

/**
 * Launches a workspace and keeps its delivery for the session page.
 *
 * @returns the session's id
 * @throws {ApiError}
 */
export async function openWorkspace(workspaceId: string, signal?: AbortSignal): Promise<string> {
  const { keyPair, clientKey } = await createChannelKeyPair()
  const { delivery } = await api.launch({ workspaceId, clientKey, ...windowSize() }, signal)
  pending.set(delivery.session.id, { delivery, keyPair })
  return delivery.session.id
}

/** The delivery that a launch left for this session, once; else a new ticket for the running session. */
export async function deliveryOf(sessionId: string, signal: AbortSignal): Promise<OpenedDelivery> {
  const launched = pending.get(sessionId)
  pending.delete(sessionId)
  return launched ?? freshDelivery(sessionId, signal)
}

/** A new ticket, with a new key, for a session that runs. */
export async function freshDelivery(sessionId: string, signal: AbortSignal): Promise<OpenedDelivery> {
  const { keyPair, clientKey } = await createChannelKeyPair()
  const { delivery } = await api.ticket(sessionId, { clientKey }, signal)
  return { delivery, keyPair }
}

async function createChannelKeyPair(): Promise<{ keyPair: CryptoKeyPair; clientKey: string }> {
  let keyPair: CryptoKeyPair
  try {
    keyPair = await generateX25519()
  } catch (cause) {
    const message = 'This browser cannot make the key that protects a session (X25519).'
    throw new ApiError(-1, { code: 'BROWSER_TOO_OLD', message, remedy: 'Update the browser.' }, cause)
  }
  return { keyPair, clientKey: encodeBase64url(await exportPublic(keyPair.publicKey)) }
}

function windowSize(): { width: number; height: number } {
  return { width: clamp(window.innerWidth, 320, 7680), height: clamp(window.innerHeight, 240, 4320) }
}

function clamp(value: number, from: number, to: number): number {
  return Math.round(Math.min(Math.max(value, from), to))
}
