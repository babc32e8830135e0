import { copyNotice, type SessionView, sessionNotice } from '#core/api/person.ts'
import { decodeBase64url } from '#core/bytes/index.ts'
import { type Channel, ChannelSocket, type ChannelState, connectChannel } from '#core/channel/index.ts'
import { api } from '../api/api.ts'
import { size } from '../words.ts'
import { GatewayError, gatewayDialer } from './gateway-dial.ts'
import { deliveryOf, freshDelivery, type OpenedDelivery } from './open-workspace.ts'
import { initialQuality, nextQuality } from './quality.ts'
import { ScreenLink } from './screen-link.ts'

const measureMs = 2000
const reloaded = 'reloaded-for-gateways'

/** A session on a host: fetches a ticket and keeps a channel. */
export class SessionLink extends ScreenLink {
  #channel: Channel | undefined
  #quality = initialQuality

  override start(): void {
    super.start()
    // A network came back, or the computer woke up: the connection may be dead without a word.
    const probe = (): void => this.#channel?.probe()
    window.addEventListener('online', probe, { signal: this.signal })
    document.addEventListener('visibilitychange', probe, { signal: this.signal })
  }

  protected override async follow(round: number): Promise<void> {
    // Whoever opened it elsewhere while this page was away keeps it. That this one is gone the site hears some seconds later of a host that
    // begins anew.
    if (round > 0 && (await api.session(this.id)).connected) {
      if (round > 4) this.update({ phase: 'elsewhere' })
      return
    }
    const opened = await (round === 0 ? deliveryOf : freshDelivery)(this.id, this.signal)
    if (this.done) return
    this.adopt(opened.delivery.session)
    await this.#follow(opened)
  }

  protected override hangUp(reason: string): void {
    this.#channel?.close(reason)
  }

  protected override heard(session: SessionView): void {
    if (session.state === 'ended') this.over(session)
    else if (this.state.get().phase !== 'live') this.adopt(session)
  }

  /** One delivery from its ticket until its channel is closed. */
  async #follow({ delivery, keyPair }: OpenedDelivery): Promise<void> {
    const dialer = gatewayDialer(this.id, delivery.routes)
    const channel = connectChannel({
      dial: async (signal) => {
        try {
          const transport = await dialer.dial(signal)
          this.update({ unreached: undefined })
          return transport
        } catch (error) {
          if (error instanceof GatewayError && error.code === 'GATEWAY_NEW') reloadOnce()
          if (this.state.get().phase === 'opening') this.update({ unreached: dialer.addresses() })
          throw error
        }
      },
      hostKey: decodeBase64url(delivery.hostKey),
      keyPair,
      ticket: decodeBase64url(delivery.ticket),
      context: decodeBase64url(delivery.context),
    })
    this.#channel = channel
    channel.onNotice = (bytes) => this.#notice(bytes)
    const closed = this.#watch(channel)
    const socket = new ChannelSocket(channel)
    await this.view(() => socket, false)
    const timer = setInterval(() => this.#measure(channel), measureMs)
    try {
      await closed
    } finally {
      clearInterval(timer)
      this.interrupted()
      this.update({ viewer: undefined, rttMs: undefined })
    }
  }

  #measure({ rttMs, state }: Channel): void {
    if (rttMs === undefined || state !== 'open') return
    this.#quality = nextQuality(this.#quality, rttMs)
    this.update({ rttMs, quality: this.#quality.quality })
  }

  /** Resolves when the channel will carry nothing any more. */
  #watch(channel: Channel): Promise<void> {
    return new Promise((resolve) => {
      channel.onState = (state: ChannelState, reason) => {
        if (state === 'interrupted') this.interrupted()
        if (state === 'open' && this.pictured) this.live()
        // Taking it back without being asked would start a tug-of-war between two windows.
        if (reason === 'SESSION_OPENED_ELSEWHERE') this.update({ phase: 'elsewhere' })
        if (state === 'closed') resolve()
      }
      if (channel.state === 'closed') resolve()
    })
  }

  #notice(bytes: Uint8Array): void {
    const content = parseJson(bytes)
    const { conditions } = this.state.get()
    if (copyNotice.safeParse(content).success && conditions !== undefined) {
      const most = size(conditions.obligations.clipboardMaxBytes)
      this.onChanges([`What you copied stays in the session: the policy allows ${most} at a time.`])
    }
    const notice = sessionNotice.safeParse(content)
    if (!notice.success) return
    this.tell(conditions, notice.data)
    this.permit(notice.data)
  }
}

/** Loads the page again for its newer policy of connections; a second time would not help. */
function reloadOnce(): void {
  if (history.state === reloaded) return
  history.replaceState(reloaded, '')
  location.reload()
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}
