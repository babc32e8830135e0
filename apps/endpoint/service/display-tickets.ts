import { randomBytes } from 'node:crypto'
import type { Asker } from './asker.ts'
import { ServiceError } from './service-error.ts'

const livesMs = 30_000
/** A page asks for one and uses it at once. */
const maxWaiting = 64

/**
 * Rights to open one screen once: a page that has asked, in a request that it needs leave for, shows one when it opens a WebSocket, for which
 * no browser asks.
 */
export class DisplayTickets {
  readonly #waiting = new Map<
    string,
    { readonly sessionId: string; readonly uid: number; readonly untilMs: number }
  >()
  readonly #nowMs: () => number

  /** @param nowMs a clock that nobody can set */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  /** @returns 256 random bits, base64url, good for 30 s and for this account alone */
  issue(sessionId: string, { uid }: Pick<Asker, 'uid'>): string {
    const [oldest] = this.#waiting.keys()
    if (oldest !== undefined && this.#waiting.size >= maxWaiting) this.#waiting.delete(oldest)
    const ticket = randomBytes(32).toString('base64url')
    this.#waiting.set(ticket, { sessionId, uid, untilMs: this.#nowMs() + livesMs })
    return ticket
  }

  /**
   * Spends a ticket, whatever comes of it.
   *
   * @returns the session
   * @throws {ServiceError} SERVICE_TICKET_REFUSED
   */
  redeem(ticket: string, { uid }: Pick<Asker, 'uid'>): string {
    const found = this.#waiting.get(ticket)
    this.#waiting.delete(ticket)
    if (found !== undefined && found.uid === uid && this.#nowMs() < found.untilMs) return found.sessionId
    throw new ServiceError(
      'SERVICE_TICKET_REFUSED',
      'this ticket opens no screen: it is not known, used or too old, or another account has asked for it',
      { remedy: 'Press Show in the portal again.' },
    )
  }
}
