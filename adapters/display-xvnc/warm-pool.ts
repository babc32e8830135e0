import type { Context } from './context.ts'
import { isRunning } from './processes.ts'
import { endDisplay, startXvnc, type Xvnc } from './xvnc.ts'

/** Most viewers ask for their own size later; this is what a display has until then. */
const warmSize = { width: 1280, height: 800 }
const retryMs = 5000

/**
 * Display servers started ahead. Fills itself one at a time and never while a person waits for a start,
 * which the fresh display server would slow down.
 */
export class WarmPool {
  readonly #context: Context
  readonly #ready: Xvnc[] = []
  readonly #closing = new AbortController()
  #wanted = 0
  #paused = 0
  #filling: Promise<void> | undefined
  #retry: NodeJS.Timeout | undefined

  constructor(context: Context) {
    this.#context = context
  }

  get size(): number {
    return this.#ready.length
  }

  keep(count: number): void {
    this.#wanted = Math.max(0, Math.trunc(count))
    this.#fill()
  }

  pause(): void {
    this.#paused++
  }

  resume(): void {
    this.#paused--
    // A fill that the pause has just stopped is still on its way out.
    void (this.#filling ?? Promise.resolve()).then(() => this.#fill())
  }

  /** A display that still runs, undefined when there is none. */
  async take(): Promise<Xvnc | undefined> {
    for (let xvnc = this.#ready.shift(); xvnc; xvnc = this.#ready.shift()) {
      if (await isRunning(xvnc.state.server)) return xvnc
      await this.#end(xvnc)
    }
    return undefined
  }

  async close(): Promise<void> {
    this.#closing.abort()
    clearTimeout(this.#retry)
    await this.#filling
    await Promise.all(this.#ready.splice(0).map((xvnc) => this.#end(xvnc)))
  }

  #fill(): void {
    if (this.#filling || !this.#hasWork()) return
    this.#filling = this.#work().finally(() => {
      this.#filling = undefined
    })
  }

  #hasWork(): boolean {
    if (this.#closing.signal.aborted) return false
    return this.#ready.length > this.#wanted || (this.#ready.length < this.#wanted && this.#paused === 0)
  }

  async #work(): Promise<void> {
    while (this.#hasWork()) {
      const surplus = this.#ready.length > this.#wanted ? this.#ready.pop() : undefined
      if (surplus) await this.#end(surplus)
      else if (!(await this.#add())) return
    }
  }

  /** False when none could be started; it is tried again later. */
  async #add(): Promise<boolean> {
    try {
      const xvnc = await startXvnc(this.#context, warmSize, this.#closing.signal)
      this.#ready.push(xvnc)
      xvnc.child.once('exit', () => void this.#replace(xvnc))
      return true
    } catch (error) {
      if (this.#closing.signal.aborted) return false
      this.#context.log.warn({ error }, 'no display could be started ahead')
      clearTimeout(this.#retry)
      this.#retry = setTimeout(() => this.#fill(), retryMs).unref()
      return false
    }
  }

  /** A display that dies while it waits is cleaned up and made up for. */
  async #replace(xvnc: Xvnc): Promise<void> {
    const index = this.#ready.indexOf(xvnc)
    if (index < 0) return
    this.#ready.splice(index, 1)
    await this.#end(xvnc)
    this.#fill()
  }

  /** What cannot be ended now is left for the next agent, and no reason for this one to stop. */
  async #end({ state }: Xvnc): Promise<void> {
    await endDisplay(this.#context, state.id, state).catch((error: unknown) =>
      this.#context.log.warn({ display: state.id, error }, 'something of a display is left'),
    )
  }
}
