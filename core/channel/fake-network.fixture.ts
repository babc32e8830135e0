import type { Scheduler } from './scheduler.ts'
import type { Transport } from './transport.ts'

type Direction = 'up' | 'down'

/** What a hostile network makes of one message: the messages to deliver instead, or the end of the connection. */
export type Tamper = (
  message: Uint8Array,
  direction: Direction,
  index: number,
) => readonly Uint8Array[] | 'cut'

/** Two ends of one connection over a network that does as it likes. `up` is from the first end to the second. */
export interface Wire {
  readonly client: Transport
  readonly host: Transport
  readonly seen: readonly { readonly direction: Direction; readonly message: Uint8Array }[]
  cut(): void
}

export function wire(tamper: Tamper = (message) => [message]): Wire {
  const seen: { direction: Direction; message: Uint8Array }[] = []
  const counts = { up: 0, down: 0 }
  let open = true
  const cut = (): void => {
    if (!open) return
    open = false
    queueMicrotask(() => {
      client.onclose?.()
      host.onclose?.()
    })
  }
  const end = (direction: Direction, other: () => Transport): Transport => ({
    bufferedAmount: 0,
    onmessage: null,
    onclose: null,
    // What was sent before a close still arrives, as with a WebSocket.
    close: () => queueMicrotask(cut),
    send(message) {
      if (!open) return
      seen.push({ direction, message: message.slice() })
      const made = tamper(message.slice(), direction, counts[direction]++)
      if (made === 'cut') return cut()
      for (const part of made) queueMicrotask(() => open && other().onmessage?.(part))
    },
  })
  const client: Transport = end('up', () => host)
  const host: Transport = end('down', () => client)
  return { client, host, seen, cut }
}

/** Real time, but so many times faster. */
export function fastScheduler(factor: number): Scheduler {
  return {
    now: () => performance.now() * factor,
    after(ms, run) {
      const timer = setTimeout(run, ms / factor)
      return () => clearTimeout(timer)
    },
  }
}

/** Time that passes only when it is told to. */
export class ManualScheduler implements Scheduler {
  #now = 0
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>()

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#timers.delete(due)
      this.#now = due.at
      due.run()
    }
    this.#now = until
  }
}
