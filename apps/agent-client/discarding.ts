import type { AgentLog } from './agent-log.ts'

const retryMs = 30_000

/**
 * Discards what the site says is to go, and tells it what is gone. Nothing is remembered: until the site has heard it says the same again, and
 * whoever was killed in the middle goes on. What is still in use here, or fails, is tried again.
 */
export class Discarding<Thing> {
  readonly #discard: (thing: Thing) => Promise<void>
  readonly #tell: (gone: Thing[]) => void
  readonly #log: AgentLog
  #wanted: readonly Thing[] = []
  #running: Promise<void> | undefined
  #again: NodeJS.Timeout | undefined

  /** @param discard nothing of it is left, durably, when it resolves; it may be asked again */
  constructor(discard: (thing: Thing) => Promise<void>, tell: (gone: Thing[]) => void, log: AgentLog) {
    this.#discard = discard
    this.#tell = tell
    this.#log = log
  }

  /** The site's whole word. */
  receive(wanted: readonly Thing[] = []): void {
    this.#wanted = wanted
    clearTimeout(this.#again)
    if (wanted.length > 0) this.#running ??= this.#work()
  }

  /** What was in use may be so no more. */
  again(): void {
    this.receive(this.#wanted)
  }

  async close(): Promise<void> {
    this.receive()
    await this.#running
    clearTimeout(this.#again)
  }

  async #work(): Promise<void> {
    const gone: Thing[] = []
    for (const thing of this.#wanted) {
      try {
        await this.#discard(thing)
        gone.push(thing)
      } catch (error) {
        this.#log.warn({ err: error, discard: thing }, 'what is to be discarded is still here')
      }
    }
    if (gone.length > 0) this.#tell(gone)
    this.#running = undefined
    this.#again = setTimeout(() => this.again(), retryMs).unref()
  }
}
