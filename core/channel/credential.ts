import type { HandshakeResult } from './noise.ts'
import type { OpenKind } from './open-message.ts'
import { keyBytes } from './primitives.ts'
import { idBytes, ticketId, ticketPsk } from './ticket.ts'

/** What lets a client open or resume a channel: a name that everybody may see and a secret of the two ends. */
export interface Credential {
  readonly kind: OpenKind
  readonly id: Uint8Array
  readonly psk: Uint8Array
}

export async function ticketCredential(ticket: Uint8Array): Promise<Credential> {
  return { kind: 'ticket', id: await ticketId(ticket), psk: await ticketPsk(ticket) }
}

/** The credential with which the channel of this handshake is resumed. Each handshake has its own. */
export async function resumeCredential(result: HandshakeResult): Promise<Credential> {
  const id = await result.exportSecret('trustcast resume id', idBytes)
  const psk = await result.exportSecret('trustcast resume psk', keyBytes)
  return { kind: 'resume', id, psk }
}
