import type { SessionView } from '#core/api/person.ts'
import { api } from '../api/api.ts'
import { deviceAway, displayTicket, openDisplay } from '../api/device.ts'
import { ApiError } from '../api/errors.ts'
import { ScreenLink } from './screen-link.ts'
import { loadViewer } from './viewer.ts'
import { wasTaken } from './was-taken.ts'

/** A session whose virtual machine runs on this very device: its service shows the screen. The site says what is permitted, and what became of it. */
export class DeviceLink extends ScreenLink {
  #socket: WebSocket | undefined

  protected override async follow(): Promise<void> {
    await this.#look()
    // What it needs is loaded first: the other end speaks at once.
    await loadViewer()
    if (this.done) return
    const ticket = await displayTicket(this.id)
    let isOpen = false
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    await this.view(() => {
      const socket = openDisplay(ticket)
      socket.addEventListener('open', () => (isOpen = true), { once: true })
      socket.addEventListener('close', () => resolve(), { once: true })
      this.#socket = socket
      return socket
    }, true)
    if (this.done) this.hangUp()
    await closed
    this.interrupted()
    this.update({ viewer: undefined })
    if (!isOpen) throw deviceAway()
  }

  protected override hangUp(): void {
    this.#socket?.close()
  }

  protected override heard(session: SessionView): void {
    if (session.state === 'ended' || wasTaken(session)) return this.over(session)
    const { conditions } = this.state.get()
    this.adopt(session)
    this.tell(conditions, session)
  }

  protected override missed(): void {
    this.#look().catch(() => undefined)
  }

  /** While a picture is lost it may come back until the site says that the session is over; a device that never answered will not. */
  protected override passes(error: unknown): boolean {
    if (this.state.get().phase === 'interrupted') return true
    return super.passes(error) && !(error instanceof ApiError && error.code === 'DEVICE_AWAY')
  }

  /** The device goes on without the site, and so does a page that knows the session already. */
  async #look(): Promise<void> {
    try {
      this.heard(await api.session(this.id))
    } catch (error) {
      if (this.state.get().session === undefined || !super.passes(error)) throw error
    }
  }
}
