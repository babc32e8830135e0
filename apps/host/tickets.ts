import type { SiteToHost } from '#core/agent/messages.ts'
import { concatBytes, decodeHex, encodeHex, encodeUtf8 } from '#core/bytes/index.ts'
import {
  type Channel,
  type CryptoKeyPair,
  channelContext,
  type Redeemed,
  unseal,
} from '#core/channel/index.ts'
import { HostError } from './host-error.ts'

type SealedTicket = SiteToHost['tickets'][number]

/** INVARIANT: however the site's clock goes, a ticket opens nothing later than this after it arrived. */
const longestLifeMs = 30_000
const pskBytes = 32
const secretBytes = 64

export interface TicketsOptions {
  readonly keyPair: CryptoKeyPair
  /** Of this host, as the site knows it. */
  readonly hostId: string
  /** Unix time, ms. */
  now(): number
  isReady(sessionId: string): boolean
  /** The ticket's holder has come; the ticket is burnt already. */
  accepted(sessionId: string, channel: Channel): void
  /** Tells the site; said again on the next connection to it. */
  tell(message: {
    readonly kind: 'armed' | 'redeemed'
    readonly ticketId: string
    readonly sessionId: string
  }): void
  /** A ticket that was not sealed for this host and session, is damaged, or was over when it came. */
  refused(ticketId: string, error: unknown): void
}

/** Tickets that the site sent, in memory only. Each is unsealed once, held shortly and used once. */
export class Tickets {
  readonly #options: TicketsOptions
  readonly #held = new Map<string, Held>()

  constructor(options: TicketsOptions) {
    this.#options = options
  }

  /** The site's whole list. New ones are unsealed, those it has dropped are forgotten. */
  async desire(sealed: readonly SealedTicket[]): Promise<void> {
    const listed = new Map(sealed.map((ticket) => [ticket.id, ticket]))
    for (const ticket of this.#held.values()) {
      // A burnt one is remembered as long as it could still be listed again.
      const isOver = !ticket.burnt || ticket.expiresAt <= this.#options.now()
      if (isOver && !listed.has(ticket.id)) this.#held.delete(ticket.id)
    }
    const fresh = [...listed.values()].filter(({ id }) => !this.#held.has(id))
    await Promise.all(fresh.map((ticket) => this.#take(ticket)))
  }

  /** Tells the site which tickets can be used now, each once. Call when tickets came or a session became ready. */
  arm(): void {
    for (const ticket of this.#held.values()) {
      if (ticket.burnt) this.#tell(ticket, 'redeemed')
      else if (this.#isOpen(ticket)) this.#tell(ticket, 'armed')
    }
  }

  /** There is a new connection to the site: the next `arm` tells everything again. */
  reconnected(): void {
    for (const ticket of this.#held.values()) ticket.told = undefined
  }

  /** For `createChannelHost`. */
  redeem(ticketId: Uint8Array): Redeemed | undefined {
    const ticket = this.#held.get(encodeHex(ticketId))
    if (ticket?.secret === undefined || !this.#isOpen(ticket)) return undefined
    const { sessionId, secret } = ticket
    return {
      ...secret,
      context: channelContext(this.#options.hostId, sessionId),
      accepted: (channel) => {
        ticket.secret = undefined
        ticket.burnt = true
        this.#tell(ticket, 'redeemed')
        this.#options.accepted(sessionId, channel)
      },
    }
  }

  async #take(sealed: SealedTicket): Promise<void> {
    const { id, sessionId } = sealed
    const lateMs = this.#options.now() - Date.parse(sealed.expiresAt)
    const expiresAt = Math.min(Date.parse(sealed.expiresAt), this.#options.now() + longestLifeMs)
    const ticket: Held = { id, sessionId, expiresAt, secret: undefined, burnt: false, told: undefined }
    // Before the first await: never two at once, so never unsealed twice.
    this.#held.set(id, ticket)
    if (lateMs >= 0) return this.#options.refused(id, tooLate(lateMs))
    try {
      ticket.secret = await openTicket(this.#options.keyPair, sealed)
    } catch (error) {
      this.#options.refused(id, error)
    }
  }

  #isOpen({ secret, expiresAt, sessionId }: Held): boolean {
    return secret !== undefined && this.#options.now() < expiresAt && this.#options.isReady(sessionId)
  }

  #tell(ticket: Held, kind: 'armed' | 'redeemed'): void {
    if (ticket.told === kind) return
    ticket.told = kind
    this.#options.tell({ kind, ticketId: ticket.id, sessionId: ticket.sessionId })
  }
}

function tooLate(lateMs: number): HostError {
  const seconds = Math.ceil(lateMs / 1000)
  return new HostError('HOST_TICKET_EXPIRED', `the ticket had expired ${seconds} s before it came`, {
    remedy: 'Set the clocks of this host and of the site, by NTP: they may differ by a few seconds.',
  })
}

interface Held {
  readonly id: string
  readonly sessionId: string
  /** Unix time, ms. */
  readonly expiresAt: number
  /** Gone when it is burnt or was not for us; the entry stays, so that the ticket is not opened a second time. */
  secret: { readonly psk: Uint8Array; readonly clientKey: Uint8Array } | undefined
  burnt: boolean
  told: 'armed' | 'redeemed' | undefined
}

/** Sealed: psk 32 bytes | client's public key 32 bytes; prologue = ticket id 16 bytes | session id, so neither can be swapped. */
async function openTicket(
  keyPair: CryptoKeyPair,
  { id, sessionId, sealed }: SealedTicket,
): Promise<Held['secret']> {
  const prologue = concatBytes(decodeHex(id), encodeUtf8(sessionId))
  const secret = await unseal(keyPair, Buffer.from(sealed, 'base64url'), prologue)
  if (secret.length !== secretBytes) throw new Error(`expected ${secretBytes} bytes, got ${secret.length}`)
  return { psk: secret.subarray(0, pskBytes), clientKey: secret.subarray(pskBytes) }
}
