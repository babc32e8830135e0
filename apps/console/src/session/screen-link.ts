import type RFB from '@novnc/novnc'
import type { SessionNotice, SessionView } from '#core/api/person.ts'
import { api } from '../api/api.ts'
import { ApiError } from '../api/errors.ts'
import { listen } from '../api/events.ts'
import { createStore, type Store } from '../ui/store.ts'
import { type RightsAfter, type RightsBefore, rightsChanges } from '../words.ts'
import { composeTyping } from './composed-typing.ts'
import { initialQuality, type LinkQuality } from './quality.ts'
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

const longestPauseMs = 8000

/**
 * One person's view of one session, wherever that runs: keeps a connection and a viewer on it, and makes new ones for the same session when it
 * is lost. Begins with `start`, ends with `close`.
 */
export abstract class ScreenLink {
  readonly state: Store<LinkState> = createStore<LinkState>(initialState)
  /** Told what the person should know while the session runs, such as each change of rights, as sentences. */
  onChanges: (sentences: readonly string[]) => void = () => undefined

  protected readonly id: string
  readonly #screen: HTMLElement
  readonly #still: HTMLCanvasElement
  readonly #stop = new AbortController()

  constructor(id: string, screen: HTMLElement, still: HTMLCanvasElement) {
    this.id = id
    this.#screen = screen
    this.#still = still
  }

  start(): void {
    void this.#run()
    void listen((event) => {
      if (event.kind === 'session' && event.session.id === this.id) this.heard(event.session)
      else if (event.kind === 'workspaces') this.missed()
    }, this.#stop.signal)
  }

  /** Leaves; the session goes on. */
  close(): void {
    this.#stop.abort()
    this.hangUp('left')
  }

  /** One connection, from whatever opens it until it carries nothing any more. @param round how often it was tried in a row */
  protected abstract follow(round: number): Promise<void>

  /** Closes the connection; the viewer hears of it and takes itself off the page. */
  protected abstract hangUp(reason: string): void

  /** News of this session from the site, which also come while the way to it is lost. */
  protected abstract heard(session: SessionView): void

  /** Something may have happened without news of it. */
  protected missed(): void {}

  /** Whether trying the same again may help. */
  protected passes(error: unknown): boolean {
    return error instanceof ApiError && error.passes
  }

  protected get signal(): AbortSignal {
    return this.#stop.signal
  }

  protected get done(): boolean {
    const { phase } = this.state.get()
    return this.#stop.signal.aborted || phase === 'elsewhere' || phase === 'over' || phase === 'failed'
  }

  protected get pictured(): boolean {
    return this.state.get().phase === 'interrupted' && this.state.get().viewer !== undefined
  }

  protected update(change: Partial<LinkState>): void {
    this.state.set({ ...this.state.get(), ...change })
  }

  /**
   * @param socket made once the viewer is there to hear what comes first
   * @param isMachine the screen of a whole machine: it has its own size, and composes of the keys what its own keyboard says
   */
  protected async view(socket: () => object, isMachine: boolean): Promise<void> {
    const Viewer = await loadViewer()
    const viewer = new Viewer(this.#screen, socket(), { shared: true })
    viewer.scaleViewport = true
    viewer.resizeSession = !isMachine
    if (!isMachine) composeTyping(viewer, this.#screen)
    viewer.viewOnly = this.state.get().conditions?.rights.includes('input') === false
    viewer.background = 'transparent'
    this.update({ viewer })
    void this.#reveal(viewer)
  }

  protected adopt(session: SessionView): void {
    this.update({ session })
    const { rights, restrictions, obligations } = session
    this.permit({ rights, restrictions, obligations })
  }

  protected permit(conditions: Conditions): void {
    const { viewer } = this.state.get()
    // Only for the viewer's own behaviour: the other end enforces it.
    if (viewer !== undefined) viewer.viewOnly = !conditions.rights.includes('input')
    this.update({ conditions })
  }

  /** Says what has changed since. */
  protected tell(before: RightsBefore | undefined, after: RightsAfter): void {
    const sentences = before === undefined ? [] : rightsChanges(before, after)
    if (sentences.length > 0) this.onChanges(sentences)
  }

  protected over(session: SessionView): void {
    if (this.#stop.signal.aborted) return
    this.update({ phase: 'over', session })
    this.hangUp('over')
  }

  protected live(): void {
    if (!this.done) this.update({ phase: 'live', unreached: undefined })
  }

  protected interrupted(): void {
    if (this.done || this.state.get().phase !== 'live') return
    keepPicture(this.#screen, this.#still)
    this.update({ phase: 'interrupted' })
  }

  async #run(): Promise<void> {
    for (let round = 0; !this.done; round += 1) {
      try {
        const began = Date.now()
        await this.follow(round)
        if (Date.now() - began > 10_000) round = 0
      } catch (error) {
        if (this.done) return
        if (await this.#explain(error)) return
      }
      await this.#pause(round)
    }
  }

  async #reveal(viewer: RFB): Promise<void> {
    await awaitFirstPixel(this.#screen, this.#stop.signal)
    this.live()
    if (document.activeElement === document.body) viewer.focus()
  }

  /** Finds out why a session cannot be opened. True when trying again is pointless. */
  async #explain(error: unknown): Promise<boolean> {
    if (this.passes(error)) return false
    try {
      const session = await api.session(this.id)
      if (session.state === 'ended') {
        this.over(session)
        return true
      }
      if (session.state === 'ending') return false
    } catch {
      // The first error says more.
    }
    this.update({ phase: 'failed', error })
    return true
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
