import type { DesiredSession, HostSession } from '#core/agent/messages.ts'
import type { Channel } from '#core/channel/index.ts'
import { type Ending, plan, type Step } from './plan.ts'
import { Session, type SessionSurroundings } from './session.ts'

/** The site takes reports of at most so many sessions. */
const maximumReported = 2000

/** All sessions of this host, kept as the site desires. Until it has spoken, adopted ones go on and nothing ends. */
export class Sessions {
  readonly #around: SessionSurroundings
  readonly #capacity: number
  readonly #sessions = new Map<string, Session>()
  #desired: readonly DesiredSession[] | undefined
  #minute: number
  #wake: () => void = () => undefined

  private constructor(around: SessionSurroundings, capacity: number) {
    const changed = (): void => {
      around.changed()
      this.#wake()
    }
    this.#around = { ...around, changed }
    this.#capacity = capacity
    this.#minute = minuteOf(around.now())
  }

  /** Takes over the displays that run already. @param capacity most sessions at once */
  static async open(around: SessionSurroundings, capacity: number): Promise<Sessions> {
    const sessions = new Sessions(around, capacity)
    for (const display of await around.displays.adopt()) {
      sessions.#sessions.set(display.sessionId, Session.adopt(display, sessions.#around))
    }
    return sessions
  }

  /** The site's whole word; it stands until the next. */
  desire(desired: readonly DesiredSession[]): void {
    this.#desired = desired
    this.#reconcile()
  }

  /** Call every second: limits of time, the watermark's clock. */
  tick(): void {
    this.#reconcile()
    const minute = minuteOf(this.#around.now())
    for (const session of this.#sessions.values()) session.tick(minute !== this.#minute)
    this.#minute = minute
  }

  isReady(id: string): boolean {
    return this.#sessions.get(id)?.facts.phase === 'ready'
  }

  /** Joins a proven person's channel to a session. */
  attach(id: string, channel: Channel): void {
    const session = this.#sessions.get(id)
    if (session === undefined) channel.close('SESSION_NOT_READY')
    else session.attach(channel)
  }

  report(): readonly HostSession[] {
    return [...this.#sessions.values()].slice(0, maximumReported).map((session) => session.report)
  }

  /** Lets every viewer go; the sessions go on. */
  detachAll(code: string): void {
    for (const session of this.#sessions.values()) session.detach(code)
  }

  /** Ends all of them; resolves when nothing of them is left. Nothing may be desired afterwards. */
  async endAll(ending: Ending): Promise<void> {
    this.#desired = undefined
    for (const session of this.#sessions.values()) session.end(ending)
    while ([...this.#sessions.values()].some(({ facts }) => facts.phase !== 'ended')) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #reconcile(): void {
    const facts = [...this.#sessions.values()].map((session) => session.facts)
    for (const step of plan(this.#desired, facts, this.#capacity, this.#around.now())) this.#take(step)
  }

  #take(step: Step): void {
    switch (step.step) {
      case 'start':
        this.#sessions.set(step.session.id, Session.start(step.session, this.#around))
        return
      case 'refuse':
        this.#sessions.set(step.session.id, Session.refuse(step.session, step.ending, this.#around))
        return
      case 'apply':
        return this.#sessions.get(step.session.id)?.apply(step.session)
      case 'end':
        return this.#sessions.get(step.id)?.end(step.ending)
      case 'forget':
        this.#sessions.delete(step.id)
        this.#around.changed()
    }
  }
}

function minuteOf(now: number): number {
  return Math.floor(now / 60_000)
}
