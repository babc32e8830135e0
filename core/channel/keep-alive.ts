import type { Scheduler } from './scheduler.ts'

const intervalMs = 5_000
/** Intervals without a sign of life after which a link counts as dead. Not a time: browsers slow hidden pages' timers. */
const maximumSilentIntervals = 3

export interface KeepAliveEvents {
  ping(number: bigint): void
  silent(): void
}

/** Asks the other end for a sign of life and measures how long it takes. */
export class KeepAlive {
  readonly #scheduler: Scheduler
  readonly #events: KeepAliveEvents
  #cancel: (() => void) | undefined
  #number = 0n
  #sentAt: number | undefined
  #silentIntervals = 0
  #rttMs: number | undefined

  constructor(scheduler: Scheduler, events: KeepAliveEvents) {
    this.#scheduler = scheduler
    this.#events = events
  }

  /** At least what the present one takes. */
  get rttMs(): number | undefined {
    if (this.#rttMs === undefined || this.#sentAt === undefined) return this.#rttMs
    return Math.max(this.#rttMs, this.#scheduler.now() - this.#sentAt)
  }

  /** Pings at once and then regularly. */
  start(): void {
    this.#silentIntervals = 0
    this.#tick()
  }

  /** Pings at once, and waits no longer than one interval. */
  hurry(): void {
    this.#cancel?.()
    this.#silentIntervals = maximumSilentIntervals - 1
    this.#tick()
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
    this.#sentAt = undefined
  }

  heard(): void {
    this.#silentIntervals = 0
  }

  pong(number: bigint): void {
    if (number !== this.#number || this.#sentAt === undefined) return
    const sample = this.#scheduler.now() - this.#sentAt
    this.#sentAt = undefined
    this.#rttMs = this.#rttMs === undefined ? sample : 0.75 * this.#rttMs + 0.25 * sample
  }

  #tick(): void {
    if (this.#silentIntervals === maximumSilentIntervals) return this.#events.silent()
    this.#silentIntervals += 1
    // One that is not answered yet is asked again: what fills a slow way must not hide how slow it is.
    if (this.#sentAt === undefined) {
      this.#number += 1n
      this.#sentAt = this.#scheduler.now()
    }
    this.#cancel = this.#scheduler.after(intervalMs, () => this.#tick())
    this.#events.ping(this.#number)
  }
}
