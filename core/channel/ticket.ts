import { concatBytes, encodeUtf8 } from '#core/bytes/index.ts'
import { ChannelError } from './errors.ts'
import { hkdfSha256, keyBytes, randomBytes, sha256 } from './primitives.ts'

/** A ticket is so many random bytes. It never crosses the gateway: its id does, and its key never leaves the ends. */
export const ticketBytes = 32

/** Bytes of the id by which an open message names a ticket or an interrupted channel. */
export const idBytes = 16

/** A new ticket. */
export function createTicket(): Uint8Array {
  return randomBytes(ticketBytes)
}

/** The 16 bytes by which a ticket is named in public. */
export async function ticketId(ticket: Uint8Array): Promise<Uint8Array> {
  requireTicket(ticket)
  return (await sha256(concatBytes(encodeUtf8('trustcast ticket id'), ticket))).subarray(0, idBytes)
}

/** The 32 bytes that the handshake proves both ends know. */
export async function ticketPsk(ticket: Uint8Array): Promise<Uint8Array> {
  requireTicket(ticket)
  return hkdfSha256(ticket, new Uint8Array(0), encodeUtf8('trustcast ticket psk'), keyBytes)
}

/** Bound into the channel's handshake by both ends: a ticket for one session on one host opens no other. */
export function channelContext(hostId: string, sessionId: string): Uint8Array {
  return encodeUtf8(`${hostId}\n${sessionId}`)
}

function requireTicket(ticket: Uint8Array): void {
  if (ticket.length !== ticketBytes) {
    throw new ChannelError(
      'CHANNEL_OPTIONS',
      `expected a ticket of ${ticketBytes} bytes, got ${ticket.length}`,
    )
  }
}
