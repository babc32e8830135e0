import type RFB from '@novnc/novnc'
import { type SessionNotice, type SessionView, sessionNotice } from '#core/api/person.ts'
import { decodeBase64url } from '#core/bytes/index.ts'
import { type Channel, ChannelSocket, type ChannelState, connectChannel } from '#core/channel/index.ts'
import { api } from '../api/api.ts'
import { ApiError } from '../api/errors.ts'
import { listen } from '../api/events.ts'
import { createStore, type Store } from '../ui/store.ts'
import { rightsChanges } from '../words.ts'
import { GatewayError, gatewayDialer } from './gateway-dial.ts'
import { deliveryOf, freshDelivery, type OpenedDelivery } from './open-workspace.ts'
import { initialQuality, type LinkQuality, nextQuality } from './quality.ts'
import { awaitFirstPixel, keepPicture, loadViewer } from './viewer.ts'

/** What is permitted in the session now. */
export type Conditions = Pick<SessionNotice, 'rights' | 'restrictions' | 'obligations' | 'end'>

/**
 * `opening` until the first picture, then `live`; `interrupted` while the way to the session is lost and it goes on;
 * `elsewhere` when another browser of the same person took it over; `over` when it ended; `failed` when it cannot be
 * reached by trying again.
 */
type Phase = 'opening' | 'live' | 'interrupted' | 'elsewhere' | 'over' | 'failed'

export interface LinkState {
  readonly phase: Phase
  readonly session?: SessionView | undefined
  readonly conditions?: Conditions | undefined
  readonly error?: unknown
  readonly viewer?: RFB | undefined
  readonly rttMs?: number | undefined
  /** How good the way to the host is, as measured. */
  readonly quality: LinkQuality
  /** Gateways that could not be reached before the first picture: perhaps this browser does not trust them. */
  readonly unreached?: readonly string[] | undefined
}

export const initialState: LinkState = { phase: 'opening', quality: initialQuality.quality }

const measureMs = 2000
const longestPauseMs = 8000
const reloaded = 'reloaded-for-gateways'

/**
 * One person's view of one session: fetches a ticket, keeps a channel and a viewer on it, and makes new ones for the
 * same session when the channel cannot be resumed. Ends with `close`.
 */
export class SessionLink {
  readonly state: Store<LinkState> = createStore<LinkState>(initialState)
  /** Told about each change of rights while the session runs, as sentences. */
  onChanges: (sentences: readonly string[]) => void = () => undefined

  readonly #id: string
  readonly #screen: HTMLElement
  readonly #still: HTMLCanvasElement
  readonly #stop = new AbortController()
  #channel: Channel | undefined
  #quality = initialQuality

  constructor(id: string, screen: HTMLElement, still: HTMLCanvasElement) {
    this.#id = id
    this.#screen = screen
    this.#still = still
    void this.#run()
    void listen((event) => {
      if (event.kind === 'session' && event.session.id === id) this.#heard(event.session)
    }, this.#stop.signal)
  }

  /** Leaves; the session goes on. */
  close(): void {
    this.#stop.abort()
    // The viewer hears of it and takes itself off the page.
    this.#channel?.close('left')
  }

  async #run(): Promise<void> {
    for (let round = 0; !this.#done; round += 1) {
      try {
        const opened = await (round === 0 ? deliveryOf : freshDelivery)(this.#id, this.#stop.signal)
        if (this.#done) return
        this.#adopt(opened.delivery.session)
        const began = Date.now()
        await this.#follow(opened)
        if (Date.now() - began > 10_000) round = 0
      } catch (error) {
        if (this.#done) return
        if (await this.#explain(error)) return
      }
      await this.#pause(round)
    }
  }

  /** One delivery from its ticket until its channel is closed. */
  async #follow({ delivery, keyPair }: OpenedDelivery): Promise<void> {
    const dialer = gatewayDialer(this.#id, delivery.routes)
    const channel = connectChannel({
      dial: async (signal) => {
        try {
          const transport = await dialer.dial(signal)
          this.#update({ unreached: undefined })
          return transport
        } catch (error) {
          if (error instanceof GatewayError && error.code === 'GATEWAY_NEW') reloadOnce()
          if (this.state.get().phase === 'opening') this.#update({ unreached: dialer.addresses() })
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
    await this.#view(new ChannelSocket(channel))
    const timer = setInterval(() => this.#measure(channel), measureMs)
    try {
      await closed
    } finally {
      clearInterval(timer)
      this.#interrupted()
      this.#update({ viewer: undefined, rttMs: undefined })
    }
  }

  async #view(socket: object): Promise<void> {
    const Viewer = await loadViewer()
    const viewer = new Viewer(this.#screen, socket, { shared: true })
    viewer.scaleViewport = true
    viewer.resizeSession = true
    viewer.viewOnly = this.state.get().conditions?.rights.includes('input') === false
    viewer.background = 'transparent'
    this.#update({ viewer })
    void this.#reveal(viewer)
  }

  async #reveal(viewer: RFB): Promise<void> {
    await awaitFirstPixel(this.#screen, this.#stop.signal)
    this.#live()
    if (document.activeElement === document.body) viewer.focus()
  }

  #measure({ rttMs, state }: Channel): void {
    if (rttMs === undefined || state !== 'open') return
    this.#quality = nextQuality(this.#quality, rttMs)
    this.#update({ rttMs, quality: this.#quality.quality })
  }

  /** Resolves when the channel will carry nothing any more. */
  #watch(channel: Channel): Promise<void> {
    return new Promise((resolve) => {
      channel.onState = (state: ChannelState, reason) => {
        if (state === 'interrupted') this.#interrupted()
        if (state === 'open' && this.#pictured) this.#live()
        // Taking it back without being asked would start a tug-of-war between two windows.
        if (reason === 'SESSION_OPENED_ELSEWHERE') this.#update({ phase: 'elsewhere' })
        if (state === 'closed') resolve()
      }
      if (channel.state === 'closed') resolve()
    })
  }

  #notice(bytes: Uint8Array): void {
    const notice = sessionNotice.safeParse(parseJson(bytes))
    if (!notice.success) return
    const before = this.state.get().conditions
    if (before !== undefined) this.#tell(before, notice.data)
    this.#permit(notice.data)
  }

  /** News of this session from the site, which also come while its gateway is lost. */
  #heard(session: SessionView): void {
    if (session.state === 'ended') this.#over(session)
    else if (this.state.get().phase !== 'live') this.#adopt(session)
  }

  #adopt(session: SessionView): void {
    this.#update({ session })
    const { rights, restrictions, obligations } = session
    this.#permit({ rights, restrictions, obligations })
  }

  #permit(conditions: Conditions): void {
    const { viewer } = this.state.get()
    // Only for the viewer's own behaviour: the host enforces it.
    if (viewer !== undefined) viewer.viewOnly = !conditions.rights.includes('input')
    this.#update({ conditions })
  }

  #tell(before: Conditions, after: Conditions): void {
    const sentences = rightsChanges(before, after)
    if (sentences.length > 0) this.onChanges(sentences)
  }

  /** Finds out why a session cannot be opened. True when trying again is pointless. */
  async #explain(error: unknown): Promise<boolean> {
    if (error instanceof ApiError && error.passes) return false
    try {
      const session = await api.session(this.#id)
      if (session.state === 'ended') {
        this.#over(session)
        return true
      }
      if (session.state === 'ending') return false
    } catch {
      // The first error says more.
    }
    this.#update({ phase: 'failed', error })
    return true
  }

  #over(session: SessionView): void {
    if (this.#stop.signal.aborted) return
    this.#update({ phase: 'over', session })
    this.#channel?.close('over')
  }

  #live(): void {
    if (!this.#done) this.#update({ phase: 'live', unreached: undefined })
  }

  #interrupted(): void {
    if (this.#done || this.state.get().phase !== 'live') return
    keepPicture(this.#screen, this.#still)
    this.#update({ phase: 'interrupted' })
  }

  get #pictured(): boolean {
    return this.state.get().phase === 'interrupted' && this.state.get().viewer !== undefined
  }

  get #done(): boolean {
    const { phase } = this.state.get()
    return this.#stop.signal.aborted || phase === 'elsewhere' || phase === 'over' || phase === 'failed'
  }

  #update(change: Partial<LinkState>): void {
    this.state.set({ ...this.state.get(), ...change })
  }

  #pause(round: number): Promise<void> {
    const ms = Math.min(longestPauseMs, 250 * 2 ** round)
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#stop.signal.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    })
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
