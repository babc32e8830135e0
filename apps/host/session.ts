import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { sayable } from '#core/agent/agent-text.ts'
import type { DesiredSession, HostSession, HostToSite } from '#core/agent/messages.ts'
import type { SessionNotice } from '#core/api/person.ts'
import type { Display, DisplayEnd, DisplayServer } from '#core/broker/display.ts'
import type { Channel } from '#core/channel/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { type ClipboardTally, createClipboardTally } from './clipboard-tally.ts'
import { type Ending, endingSoon, type Phase, type SessionFacts } from './plan.ts'
import { clipboardOf } from './rights.ts'
import { openViewer, type Viewer } from './viewer.ts'

const stopAgainMs = 5_000

/** What sessions work with. */
export interface SessionSurroundings {
  readonly displays: DisplayServer
  readonly log: Logger
  /** Unix time, ms. */
  now(): number
  /** Something that the site wants to know has changed. */
  changed(): void
  tell(message: HostToSite): void
}

/**
 * One person's session: a display, and at most one viewer on it.
 *
 *     starting ──▶ ready ──▶ ending ──▶ ended        (adopted ones begin as ready, refused ones as ended)
 */
export class Session {
  readonly id: string
  readonly #around: SessionSurroundings
  readonly #log: Logger
  readonly #clipboard: ClipboardTally
  readonly #started = new AbortController()
  #phase: Phase = 'starting'
  #desired: DesiredSession | undefined
  #display: Display | undefined
  #viewer: Viewer | undefined
  #ending: Ending | undefined
  /** As the display server has them, and whether it is being told others. */
  #switches = ''
  #isSwitching = false
  #inputAt: number | undefined
  #readyAt = 0
  #aloneSince: number | undefined
  /** Why the person was last told that the session ends soon. */
  #toldEnd: string | undefined
  /** A copy was too large to leave, and the person has not been told yet. */
  #copyKept = false

  private constructor(id: string, around: SessionSurroundings) {
    this.id = id
    this.#around = around
    this.#log = around.log.child({ session: id })
    this.#clipboard = createClipboardTally(id)
  }

  static start(desired: DesiredSession, around: SessionSurroundings): Session {
    const session = new Session(desired.id, around)
    session.#desired = desired
    void session.#start(desired)
    return session
  }

  /** A display that an agent before this one started. */
  static adopt(display: Display, around: SessionSurroundings): Session {
    const session = new Session(display.sessionId, around)
    session.#run(display)
    return session
  }

  /** A session that is desired and does not run here. */
  static refuse(desired: DesiredSession, ending: Ending, around: SessionSurroundings): Session {
    const session = new Session(desired.id, around)
    session.#desired = desired
    session.#over(ending)
    return session
  }

  get facts(): SessionFacts {
    return {
      id: this.id,
      phase: this.#phase,
      desired: this.#desired,
      activeAt: this.#inputAt ?? this.#readyAt,
      aloneSince: this.#aloneSince,
    }
  }

  /** As the site is told. What ends still uses the host, so it is not `ended` before nothing of it is left. */
  get report(): HostSession {
    const state = this.#phase === 'ending' ? 'ready' : this.#phase
    return {
      id: this.id,
      state,
      connected: this.#viewer !== undefined && this.#aloneSince === undefined,
      ...(this.#inputAt !== undefined && { lastInputAt: new Date(this.#inputAt).toISOString() }),
      ...(state === 'ended' && this.#ending && { end: this.#ending }),
    }
  }

  /** Makes the site's word so, in place. */
  apply(desired: DesiredSession): void {
    this.#desired = desired
    this.#viewer?.apply(this.#shown(desired), this.#around.now())
    void this.#switchClipboard()
  }

  /** Joins a person's channel to the display, in the place of the one before. */
  attach(channel: Channel): void {
    if (this.#phase !== 'ready' || this.#display === undefined || this.#desired === undefined) {
      return channel.close('SESSION_NOT_READY')
    }
    this.#viewer?.end('SESSION_OPENED_ELSEWHERE')
    let viewer: Viewer | undefined = undefined
    viewer = openViewer(channel, this.#display.socketPath, this.#shown(this.#desired), this.#around.now(), {
      connected: (connected) => this.#connected(connected),
      input: () => {
        this.#inputAt = this.#around.now()
      },
      clipboard: (event) => {
        const { kind, direction, bytes } = event
        this.#clipboard.add(direction, bytes, kind === 'clipboard-passed')
        if (kind === 'clipboard-blocked' && direction === 'out' && event.why === 'size') this.#copyKept = true
      },
      gone: (code, cause) => {
        this.#log.info({ code, ...(cause !== undefined && { err: cause }) }, 'viewer gone')
        // A viewer that was replaced goes after its successor has come.
        if (this.#viewer !== viewer) return
        this.#viewer = undefined
        this.#connected(false)
      },
    })
    this.#viewer = viewer
    this.#log.info('viewer accepted')
  }

  detach(code: string): void {
    this.#viewer?.end(code)
  }

  /** Call every second: the watermark's clock, whether a limit is near, and what has passed the clipboard since. */
  tick(newMinute: boolean): void {
    const shown = this.#desired && this.#shown(this.#desired)
    const end = shown?.notice.end?.code
    if (shown !== undefined && (newMinute || end !== this.#toldEnd))
      this.#viewer?.apply(shown, this.#around.now())
    this.#toldEnd = end
    // Not for each: a program that floods the clipboard would fill the channel.
    if (this.#copyKept) this.#viewer?.tell({ kind: 'copy-too-large' })
    this.#copyKept = false
    for (const message of this.#clipboard.take()) this.#around.tell(message)
  }

  /** Ends everything of it. The person is told why first. */
  end(ending: Ending): void {
    if (this.#phase !== 'starting' && this.#phase !== 'ready') return
    this.#log.info({ code: ending.code }, 'session ends')
    this.#ending = ending
    this.#phase = 'ending'
    this.#started.abort(new Error(ending.code))
    this.#viewer?.end(ending.code, this.#farewell(ending))
    void this.#stop()
    this.#around.changed()
  }

  async #start(desired: DesiredSession): Promise<void> {
    const { id, account, fullName, program, width, height, limits } = desired
    const request = { sessionId: id, account, fullName, program, width, height, limits }
    try {
      this.#run(await this.#around.displays.start(request, this.#started.signal))
    } catch (error) {
      if (this.#ending === undefined) this.#log.error({ err: error }, 'session could not be started')
      const failure = isCoded(error)
        ? { code: error.code, reason: sayable(error.message.slice(0, 500)) }
        : { code: 'DISPLAY_START_FAILED', reason: 'The session could not be started' }
      this.#over(this.#ending ?? failure)
    }
  }

  #run(display: Display): void {
    this.#display = display
    void display.ended.then((end) => this.#over(this.#ending ?? endingOf(end)))
    // Ended while it started, and the display server did not see the signal in time.
    if (this.#phase === 'ending') return void this.#stop()
    this.#phase = 'ready'
    this.#readyAt = this.#aloneSince = this.#around.now()
    this.#log.info('session ready')
    void this.#switchClipboard()
    this.#around.changed()
  }

  async #stop(): Promise<void> {
    while (this.#display !== undefined && this.#phase !== 'ended') {
      try {
        return await this.#display.stop()
      } catch (error) {
        this.#log.error({ err: error }, 'session could not be stopped; trying again')
        await delay(stopAgainMs)
      }
    }
  }

  #over(ending: Ending): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    this.#ending = ending
    this.#display = undefined
    this.#viewer?.end(ending.code, this.#farewell(ending))
    this.tick(false)
    this.#log.info({ code: ending.code }, 'session ended')
    this.#around.changed()
  }

  /** As the person is told: a limit that is near, too. */
  #shown(desired: DesiredSession): DesiredSession {
    const end = desired.notice.end ?? endingSoon(desired, this.facts.activeAt, this.#around.now())
    return { ...desired, notice: { ...desired.notice, end } }
  }

  #connected(connected: boolean): void {
    this.#aloneSince = connected ? undefined : this.#around.now()
    this.#around.changed()
  }

  #farewell({ code, reason }: Ending): SessionNotice | undefined {
    const notice = this.#desired?.notice
    if (notice === undefined) return undefined
    const unlocks = notice.end?.code === code ? notice.end.unlocks : []
    return {
      ...notice,
      state: 'ended',
      end: { code, reason, unlocks, at: new Date(this.#around.now()).toISOString() },
    }
  }

  /** One after another: of two at once the earlier might arrive last. Never rejects. */
  async #switchClipboard(): Promise<void> {
    if (this.#isSwitching) return
    this.#isSwitching = true
    // What could not be switched is not tried again before it changes.
    let tried = this.#switches
    while (this.#display !== undefined && this.#desired !== undefined) {
      const allowed = clipboardOf(this.#desired)
      const switches = JSON.stringify(allowed)
      if (switches === tried) break
      tried = switches
      try {
        await this.#display.setClipboard(allowed)
        this.#switches = switches
      } catch (error) {
        // The filter enforces; this is only the line behind it.
        this.#switches = ''
        this.#log.warn({ err: error }, "the display server's clipboard could not be switched")
      }
    }
    this.#isSwitching = false
  }
}

function endingOf({ reason }: DisplayEnd): Ending {
  if (reason === 'display-died')
    return { code: 'DISPLAY_ENDED', reason: 'The display server ended unexpectedly' }
  return reason === 'out-of-memory'
    ? { code: 'SESSION_OUT_OF_MEMORY', reason: 'It needed more memory than it may use' }
    : { code: 'SESSION_PROGRAM_ENDED', reason: 'The program was closed' }
}
