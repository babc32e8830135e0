import type { Duplex } from 'node:stream'
import { GatewayError } from './gateway-error.ts'
import type { GatewayLimits } from './limits.ts'

type SpareLimits = Pick<GatewayLimits, 'sparesPerHost' | 'spareMs' | 'waiting' | 'waitMs'>

/** Connections that hosts hold open towards the gateway so that a person who comes can be joined at once. */
export class Spares {
  readonly #limits: SpareLimits
  /** Per host, oldest first; no empty lists. */
  readonly #parked = new Map<string, Spare[]>()
  readonly #waiting = new Set<Waiter>()

  constructor(limits: SpareLimits) {
    this.#limits = limits
  }

  /** The hosts that have at least one spare. */
  hosts(): string[] {
    return [...this.#parked.keys()]
  }

  /**
   * Keeps a connection for the next person, or gives it to the one who waits longest.
   *
   * INVARIANT: a parked host is silent. One that speaks, ends or grows old is closed.
   *
   * @param welcome tells the host that it is accepted; called before anybody else can write
   * @throws {GatewayError} GATEWAY_SPARES_FULL
   */
  park(host: string, socket: Duplex, welcome: () => void): void {
    const list = this.#parked.get(host) ?? []
    if (list.length >= this.#limits.sparesPerHost)
      throw new GatewayError('GATEWAY_SPARES_FULL', `this host has ${list.length} spare connections already`)
    welcome()
    for (const waiter of this.#waiting) if (waiter.host === host) return waiter.give(socket)
    const spare = guard(socket, this.#limits.spareMs, () => this.#drop(host, spare))
    this.#parked.set(host, [...list, spare])
  }

  /**
   * The host's oldest spare, now or as soon as there is one.
   *
   * @param signal the person left
   * @throws {GatewayError} GATEWAY_HOST_AWAY, GATEWAY_BUSY
   */
  async take(host: string, signal: AbortSignal): Promise<Duplex> {
    const [spare] = this.#parked.get(host) ?? []
    if (spare === undefined) return this.#wait(host, signal)
    this.#drop(host, spare)
    return spare.release()
  }

  /** Closes a host's spares. */
  closeHost(host: string): void {
    for (const { socket } of this.#parked.get(host) ?? []) socket.destroy()
  }

  #wait(host: string, signal: AbortSignal): Promise<Duplex> {
    if (this.#waiting.size >= this.#limits.waiting)
      throw new GatewayError('GATEWAY_BUSY', 'too many people wait for a host', { remedy: tryAgain })
    const { promise, resolve, reject } = Promise.withResolvers<Duplex>()
    const leave = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      this.#waiting.delete(waiter)
    }
    const waiter: Waiter = {
      host,
      give: (socket) => {
        leave()
        resolve(socket)
      },
    }
    const giveUp = (): void => {
      leave()
      reject(
        new GatewayError('GATEWAY_HOST_AWAY', 'the host of this session is not connected to this gateway', {
          remedy: tryAgain,
        }),
      )
    }
    const timer = setTimeout(giveUp, this.#limits.waitMs)
    signal.addEventListener('abort', giveUp)
    this.#waiting.add(waiter)
    return promise
  }

  #drop(host: string, spare: Spare): void {
    const rest = (this.#parked.get(host) ?? []).filter((other) => other !== spare)
    if (rest.length > 0) this.#parked.set(host, rest)
    else this.#parked.delete(host)
  }
}

interface Waiter {
  readonly host: string
  give(socket: Duplex): void
}

interface Spare {
  readonly socket: Duplex
  /** Ends the guard; the socket is silent, paused and of no further interest to it. */
  release(): Duplex
}

const tryAgain = 'Try again in a moment.'

function guard(socket: Duplex, spareMs: number, onClose: () => void): Spare {
  const close = (): void => void socket.destroy()
  const ageing = setTimeout(close, spareMs)
  const closed = (): void => {
    clearTimeout(ageing)
    onClose()
  }
  // Reading is also how a closed connection shows.
  socket.on('data', close).on('end', close).on('close', closed)
  return {
    socket,
    release: () => {
      clearTimeout(ageing)
      socket.off('data', close).off('end', close).off('close', closed)
      return socket.pause()
    },
  }
}
